"""Moves what a loop computes again in every iteration, and need not, in front of it: the bounds of the loops inside.

    for ox:                                              for ox:
        for oc:                                              kx_end = min(3, 6 - ox)
            for (kx = 0; kx < min(3, 6 - ox); kx++)          for oc:
                                                                 for (kx = 0; kx < kx_end; kx++)

Loads are left where they are: whether a register is free to hold them is for the C compiler to say.
"""

from __future__ import annotations

from dataclasses import replace

from harness.compiler.loops import Block, Const, Expr, For, If, Let, Program, Stmt, Var, walk, walk_expr


def hoist_bounds(program: Program) -> Program:
    """Names every loop bound that is not a constant, in front of the outermost loop it does not change in."""
    return replace(program, body=_Hoisting(program).block(program.body))


class _Hoisting:
    def __init__(self, program: Program) -> None:
        self.taken = {s.name for s in walk(program.body) if isinstance(s, Let)}
        self.names: dict[tuple[str, Expr], str] = {}

    def block(self, block: Block) -> Block:
        result: list[Stmt] = []
        for s in block:
            if isinstance(s, For):
                lets, loop = self.loop(s)
                result.extend(let for let in lets if let not in result)
                result.append(loop)
            elif isinstance(s, If):
                result.append(If(s.cond, self.block(s.then), self.block(s.orelse)))
            else:
                result.append(s)
        return tuple(result)

    def loop(self, loop: For) -> tuple[list[Let], For]:
        """The loop with its bounds named, and the names that may stand before it, its own first."""
        lets: list[Let] = []
        start = self.named(loop.start, f"{loop.var}_start", lets)
        stop = self.named(loop.stop, f"{loop.var}_end", lets)
        body = self.block(loop.body)
        inside = {s.var for s in walk(body) if isinstance(s, For)} | {loop.var}
        inside |= {s.name for s in walk(body) if isinstance(s, Let) and not self.is_bound(s)}
        free = [s for s in body if isinstance(s, Let) and self.is_bound(s) and not _uses(s.value, inside)]
        lets += [let for let in free if let not in lets]
        return lets, replace(loop, start=start, stop=stop, body=tuple(s for s in body if s not in free))

    def named(self, bound: Expr, stem: str, lets: list[Let]) -> Expr:
        if isinstance(bound, (Const, Var)):
            return bound
        name = self.names.get((stem, bound), stem)
        number = 0
        while name in self.taken and self.names.get((stem, bound)) != name:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        self.names[stem, bound] = name
        let = Let(name, bound)
        lets.append(let)
        return let.var

    def is_bound(self, let: Let) -> bool:
        return let.name in self.names.values()


def _uses(node: Expr, names: set[str]) -> bool:
    return any(isinstance(n, Var) and n.name in names for n in walk_expr(node))
