"""Runs a layer from its last output to its first, so that the output may lie above the input instead of below.

    for oy in 0 … 25:                        for oy_back in 0 … 25:
        for block in 0 … 5 step 2:               oy = 24 - oy_back
            body                                 for block_back in 0 … 5 step 2:
                                                     block = 4 - block_back
                                                     body

Where one layer moves the data down by a few rows, the next can move it up again: a chain of layers needs room for one
tensor and those rows, however long it is. Legal for parallel loops only, whose iterations may run in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.compiler.loops import Binary, Block, Const, For, Let, Program, Var
from harness.compiler.overlap import Reads, mixes


def backwards(program: Program, reads: Reads | None = None) -> Iterator[Program]:
    """`program` with one, two, … of the outermost loops that both read and write turned round."""
    known = reads or Reads()
    depth = 1
    while True:
        body = _turned(program.body, depth, known)
        if body is None:
            return
        yield replace(program, body=body)
        depth += 1


def _turned(block: Block, depth: int, reads: Reads) -> Block | None:
    """None where there are no `depth` nested loops that may be turned round."""
    if not depth:
        return block
    at = [i for i, s in enumerate(block) if isinstance(s, For) and mixes(s, reads)]
    if len(at) != 1:  # of several, one after the other, the order would have to be turned round as well
        return None
    loop = block[at[0]]
    assert isinstance(loop, For)
    if not loop.parallel or not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return None
    body = _turned(loop.body, depth - 1, reads)
    if body is None:
        return None
    start, stop = int(loop.start.value), int(loop.stop.value)
    last = start + (stop - start - 1) // loop.step * loop.step
    back = Var(f"{loop.var}_back")
    turned = replace(loop, var=back.name, body=(Let(loop.var, Binary("sub", Const(start + last), back)), *body))
    return (*block[: at[0]], turned, *block[at[0] + 1 :])
