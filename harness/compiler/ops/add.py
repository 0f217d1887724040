"""ADD: a + b, broadcast as numpy does, with a fused activation."""

from __future__ import annotations

from functools import partial

from harness.compiler import schedules
from harness.compiler.ops import binary
from harness.compiler.ops.base import Case, Operator, no_macs

CASES = (
    Case("same_shape", ((1, 4, 5, 3), (1, 4, 5, 3))),
    Case("one_element", ((1, 1), (1, 1))),
    Case("relu", ((1, 4, 4, 8), (1, 4, 4, 8)), {"activation": "RELU"}),
    Case("relu6", ((1, 33), (1, 33)), {"activation": "RELU6"}),
    Case("relu_n1_to_1", ((2, 9), (2, 9)), {"activation": "RELU_N1_TO_1"}),
    Case("unlike_scales", ((1, 64), (1, 64)), quants=((0.9, -128), (0.0007, 127))),
    Case("first_finer", ((1, 64), (1, 64)), quants=((0.0011, 5), (0.4, -100))),
    Case("equal_scales", ((1, 64), (1, 64)), quants=((0.1, 0), (0.1, 0))),
    Case("saturates", ((1, 64), (1, 64)), {"quant": (0.003, 0)}),
    Case("coarse_output", ((1, 64), (1, 64)), {"quant": (7.0, 11)}),
    Case("bias_of_channels", ((1, 4, 4, 6), (6,))),
    Case("scalar_like", ((1, 4, 4, 6), (1, 1, 1, 1))),
    Case("first_broadcast", ((1, 1, 1, 6), (1, 4, 4, 6))),
    Case("both_broadcast", ((1, 5, 1, 3), (1, 1, 4, 3))),
    Case("float", ((1, 4, 5, 3), (1, 4, 5, 3)), dtype="float32"),
    Case("float_broadcast_relu", ((1, 4, 5, 3), (3,)), {"activation": "RELU"}, dtype="float32"),
)

OPERATOR = Operator(
    "ADD",
    "add",
    binary.parser("AddOptions"),
    partial(binary.check_sum, sign=1),
    partial(binary.reference_sum, sign=1),
    no_macs,
    CASES,
    partial(binary.lower_sum, sign=1),
    schedules.ELEMENTWISE,
    channels=partial(binary.channels, reference=partial(binary.reference_sum, sign=1)),
    by_element=True,
)
