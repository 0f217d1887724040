"""Which schedules each kind of layer can choose from. What a schedule may do is checked by the verifier and its result
compared with the unscheduled program by the interpreter.

base           what a schedule is, and its knobs
common         the steps every schedule begins and ends with
contraction    convolutions and matrix products in register blocks, by kernels in assembly: product writes them
product_lanes  the same in the vectors of MVE
rows           depthwise convolutions along rows
strips         depthwise convolutions in the vectors of MVE
elements       an element of the output from one of each operand
lanes          pools, and operators of single elements, in the vectors of MVE
copies         layers that only move elements
softmax        softmax by its table of exponentials, row by row
scalar         the loops as they were lowered, transformed: for what none of the others fits
"""

from __future__ import annotations

from harness.compiler.schedules.base import Family
from harness.compiler.schedules.common import tidy
from harness.compiler.schedules.contraction import Product
from harness.compiler.schedules.copies import Copied
from harness.compiler.schedules.elements import ByElement
from harness.compiler.schedules.lanes import Lanes
from harness.compiler.schedules.product_lanes import LaneProduct
from harness.compiler.schedules.rows import Rows
from harness.compiler.schedules.scalar import Blocked, Channels, Plain, Taps
from harness.compiler.schedules.softmax import SoftmaxRows
from harness.compiler.schedules.strips import Strips

__all__ = ["CONTRACTION", "COPIES", "DEPTHWISE", "ELEMENTWISE", "PLAIN", "POOL", "SOFTMAX", "tidy"]

CONTRACTION: Family = ((LaneProduct,), (Product,), (Blocked,))  # convolution and matrix product
DEPTHWISE: Family = ((LaneProduct, Strips, Product, Rows), (Blocked, Taps))  # of one channel: an ordinary convolution
POOL: Family = ((Lanes, Channels),)  # average and maximum over windows
ELEMENTWISE: Family = ((Lanes, ByElement),)  # one loop over the elements of the output
COPIES: Family = ((Copied,),)  # what only moves elements
SOFTMAX: Family = ((SoftmaxRows, Plain),)  # along rows
PLAIN: Family = ((Plain,),)
