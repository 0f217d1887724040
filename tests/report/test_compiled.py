from __future__ import annotations

from harness.report.compiled import arena


def test_the_arena_is_shown_beside_what_no_plan_can_beat() -> None:
    assert arena(8832, 8576) == "arena 8,832 B (256 above the lower bound of 8,576)"
    assert arena(37232, 37232) == "arena 37,232 B (the lower bound)"
