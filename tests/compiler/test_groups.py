"""What a layer is called in terms of the model, when tensors are views of one another and lie inside one another."""

from __future__ import annotations

import numpy as np

from harness.compiler.arena import plan
from harness.compiler.graph import Graph, Op, Tensor, View
from harness.compiler.groups import Groups
from harness.compiler.values import Values
from harness.dtypes import DType

# The model:  0 A: 0 -> 1    1 B: 0 -> 2    2 CONCATENATION: 1, 2 -> 3    3 RESHAPE: 3 -> 4    4 SPLIT: 4 -> 5, 6
#             5 C: 5 -> 7    6 D: 6, 1 -> 8
SIZES = (8, 8, 12, 20, 20, 4, 16, 1, 1)
MODEL = Graph(
    "model",
    tuple(Tensor(f"t{i}", (n,), DType.I8) for i, n in enumerate(SIZES)),
    (
        Op("A", (0,), (1,), None, (0,)),
        Op("B", (0,), (2,), None, (1,)),
        Op("CONCATENATION", (1, 2), (3,), None, (2,)),
        Op("RESHAPE", (3,), (4,), None, (3,)),
        Op("SPLIT", (4,), (5, 6), None, (4,)),
        Op("C", (5,), (7,), None, (5,)),
        Op("D", (6, 1), (8,), None, (6,)),
    ),
    (0,),
    (7, 8),
    9,
)
FOLDED = Graph(
    "model",
    MODEL.tensors,
    (
        Op("A", (0,), (1,), None, (0,)),
        Op("B", (0,), (2,), None, (1, 2, 3, 4)),
        Op("C", (5,), (7,), None, (5,)),
        Op("D", (6, 1), (8,), None, (6,)),
    ),
    (0,),
    (7, 8),
    9,
    views=(
        View(5, 4, (4,), 0),
        View(6, 4, (4,), 4),
        View(4, 3, (3,)),
        View(1, 3, (2,), 0),
        View(2, 3, (2,), 8),
    ),
)


def test_the_layer_that_writes_the_last_piece_completes_the_whole() -> None:
    groups = Groups(MODEL, FOLDED)
    assert [groups.inputs(op) for op in FOLDED.ops] == [(0,), (0, 1), (5,), (6, 1)]
    assert [groups.outputs(op) for op in FOLDED.ops] == [(1,), (4,), (7,), (8,)]
    assert [groups.parts(op) for op in FOLDED.ops] == [(), (2, 5, 6, 3), (), ()]


def test_places_add_up_along_a_chain_of_views() -> None:
    assert [FOLDED.place(t) for t in range(9)] == [
        (0, 0), (3, 0), (3, 8), (3, 0), (3, 0), (3, 0), (3, 4), (7, 0), (8, 0),
    ]  # fmt: skip


def test_a_whole_is_alive_from_its_first_piece_on() -> None:
    made = plan(FOLDED)
    start = made.placements[3].offset
    places = {t: (p.offset - start, p.bytes) for t, p in made.placements.items() if FOLDED.base(t) == 3}
    assert places == {1: (0, 8), 2: (8, 12), 3: (0, 20), 4: (0, 20), 5: (0, 4), 6: (4, 16)}
    assert made.lower_bound == 28  # the input beside the whole, while either piece is written


def test_what_is_written_shows_in_every_view() -> None:
    values = Values(FOLDED)
    for tensor, first in ((1, 0), (2, 100)):
        values[tensor] = np.arange(first, first + SIZES[tensor], dtype=np.int8)
    assert values[5].tolist() == [0, 1, 2, 3]
    assert values[6].tolist() == [4, 5, 6, 7, *range(100, 112)]
    assert set(values.all()) == {1, 2, 3, 4, 5, 6}
