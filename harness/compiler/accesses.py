"""How the vectors of a loop program are moved between registers and memory."""

from __future__ import annotations

from harness.compiler.intrinsics.lanes import Access, access
from harness.compiler.loops import Load, Store
from harness.dtypes import Vec


def access_of(node: Load | Store) -> Access | None:
    """What moves the vector that `node` reads or writes; None where no core has such an instruction."""
    lanes = node.lanes if isinstance(node, Load) else node.value.dtype
    assert isinstance(lanes, Vec)
    return access(
        node.buffer.element,
        lanes,
        predicated=node.active is not None,
        store=isinstance(node, Store),
        apart=node.apart > 1,
    )
