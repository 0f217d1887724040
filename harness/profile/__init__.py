"""What a model costs: exact instruction counts, estimated cycles, memory, by layer and by function."""

from harness.profile.result import Profile
from harness.profile.run import profile

__all__ = ["Profile", "profile"]
