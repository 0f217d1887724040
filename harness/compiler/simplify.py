"""Interval arithmetic and simplification of expressions and blocks; what makes an unrolled loop readable again.

Only exact identities are used, so a simplified program computes the same values. Index arithmetic (no loads in it) is
brought to the form `sum of coefficient * atom + constant`, which decides most comparisons:

    for (ky = max(0, 1 - oy); …)          with 1 <= oy < 24
    for (ky = 0; …)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from harness.compiler.interpreter_values import fold_binary
from harness.compiler.loops import (
    COMPARISON,
    Binary,
    Block,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
    walk_expr,
    with_parts,
)
from harness.dtypes import DType

Range = tuple[int, int]  # inclusive
Ranges = Mapping[str, Range]
Values = Mapping[str, Expr]  # of variables, by name


def interval(node: Expr, ranges: Ranges) -> Range:
    """The values an integer expression can take when each variable is inside `ranges`; its dtype's range if unknown."""
    if isinstance(node, Const):
        return (int(node.value), int(node.value))
    if isinstance(node, Var) and node.name in ranges:
        return ranges[node.name]
    if isinstance(node, Binary):
        found = _interval_of(node.op, interval(node.left, ranges), interval(node.right, ranges))
        if found is not None:
            return found
    elif isinstance(node, Cast) and node.value.dtype.is_integer:
        return interval(node.value, ranges)
    elif isinstance(node, Select):
        (a, b), (c, d) = interval(node.then, ranges), interval(node.orelse, ranges)
        return (min(a, c), max(b, d))
    return (node.dtype.min, node.dtype.max)


def _interval_of(op: str, left: Range, right: Range) -> Range | None:
    """Of an operation on operands with these; None where there is no telling."""
    (a, b), (c, d) = left, right
    if op == "add":
        return (a + c, b + d)
    if op == "sub":
        return (a - d, b - c)
    if op == "mul":
        corners = (a * c, a * d, b * c, b * d)
        return (min(corners), max(corners))
    if op == "min":
        return (min(a, c), min(b, d))
    if op == "max":
        return (max(a, c), max(b, d))
    if op == "div" and c > 0:
        return (int(a / c) if a < 0 else a // d, b // c if b >= 0 else -(-b // d))
    if op == "shr" and c == d:
        return (a >> c, b >> c)
    return None


def is_index(node: Expr) -> bool:
    """Arithmetic on loop variables alone: what may be reordered freely."""
    if node.dtype is not DType.I32:
        return False
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Binary):
            waiting += (found.left, found.right)
        elif not isinstance(found, (Const, Var)):
            return False
    return True


def affine(node: Expr) -> tuple[dict[Expr, int], int]:
    """`node` as coefficients of atoms (in order of appearance) and a constant."""
    if isinstance(node, Const):
        return {}, int(node.value)
    if isinstance(node, Binary) and node.op in ("add", "sub"):
        left, a = affine(node.left)
        right, b = affine(node.right)
        sign = 1 if node.op == "add" else -1
        for atom, factor in right.items():
            left[atom] = left.get(atom, 0) + sign * factor
        return {atom: factor for atom, factor in left.items() if factor}, a + sign * b
    if isinstance(node, Binary) and node.op == "mul":
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(other, Const):
                terms, constant = affine(one)
                by = int(other.value)
                return {atom: factor * by for atom, factor in terms.items() if by}, constant * by
    return {node: 1}, 0


def from_affine(terms: Mapping[Expr, int], constant: int) -> Expr:
    result: Expr | None = None
    for atom, factor in sorted(terms.items(), key=lambda item: item[1] < 0):
        term = atom if abs(factor) == 1 else Binary("mul", atom, Const(abs(factor)))
        if result is None:
            result = term if factor > 0 else Binary("sub", Const(constant), term)
            constant = constant if factor > 0 else 0
        else:
            result = Binary("add" if factor > 0 else "sub", result, term)
    if result is None:
        return Const(constant)
    if constant:
        return Binary("add" if constant > 0 else "sub", result, Const(abs(constant)))
    return result


def simplify(node: Expr, ranges: Ranges | None = None, values: Values | None = None) -> Expr:
    """`node` with the variables in `values` replaced, whose values are simple themselves."""
    return _simplified(node, ranges or {}, values or {})


def _simplified(node: Expr, ranges: Ranges, values: Values) -> Expr:
    if isinstance(node, Const):
        return node
    if isinstance(node, Var):
        return values.get(node.name, node)
    if isinstance(node, Binary):
        if node.dtype is DType.I32:
            linear = _linear(node, values)  # most indices: no need to go from the leaves up
            if linear is not None and linear[0] and DType.I32.min <= linear[1] <= DType.I32.max:
                return from_affine(*linear)
        left, right = _simplified(node.left, ranges, values), _simplified(node.right, ranges, values)
        return _rule(node if left is node.left and right is node.right else Binary(node.op, left, right), ranges)
    return _rule(with_parts(node, tuple([_simplified(child, ranges, values) for child in node.parts])), ranges)


def _linear(node: Expr, values: Values) -> tuple[dict[Expr, int], int] | None:
    """`affine` of sums, differences and multiples of variables; None where there is anything else."""
    terms: dict[Expr, int] = {}
    constant = _collected(node, 1, terms, values)
    return None if constant is None else (terms, constant)


def _collected(node: Expr, factor: int, terms: dict[Expr, int], values: Values) -> int | None:
    """Adds the variables in `factor` times `node` to `terms`, and gives what is constant; None if it is not linear."""
    if isinstance(node, Const):
        return factor * int(node.value)
    if isinstance(node, Var):
        if node.name in values:
            return _collected(values[node.name], factor, terms, {})
        total = terms.get(node, 0) + factor
        if total:
            terms[node] = total
        else:
            terms.pop(node, None)
        return 0
    if not isinstance(node, Binary):
        return None
    left, right = node.left, node.right
    if node.op == "mul":
        if isinstance(right, Const):
            return _collected(left, factor * int(right.value), terms, values)
        return _collected(right, factor * int(left.value), terms, values) if isinstance(left, Const) else None
    if node.op not in ("add", "sub"):
        return None
    one = _collected(left, factor, terms, values)
    other = None if one is None else _collected(right, factor if node.op == "add" else -factor, terms, values)
    return None if one is None or other is None else one + other


def flat_index(index: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The number of an element of an array of this shape, simplified."""
    terms: dict[Expr, int] = {}
    constant = 0
    stride = prod(shape)
    for node, size in zip(index, shape, strict=True):
        stride //= size
        if not is_index(node):
            break
        part, first = _linear(node, {}) or affine(simplify(node))
        constant += stride * first
        for atom, factor in part.items():
            total = terms.get(atom, 0) + stride * factor
            if total:
                terms[atom] = total
            else:
                del terms[atom]
    else:
        if DType.I32.min <= constant <= DType.I32.max:
            return from_affine(terms, constant)
    flat: Expr = Const(0)
    for node, size in zip(index, shape, strict=True):
        flat = Binary("add", Binary("mul", flat, Const(size)), node)
    return simplify(flat)


def _difference(a: Expr, b: Expr, ranges: Ranges) -> Range:
    terms, constant = affine(Binary("sub", a, b))
    low = high = constant
    for atom, factor in terms.items():
        first, last = interval(atom, ranges)
        low += factor * (first if factor > 0 else last)
        high += factor * (last if factor > 0 else first)
    return low, high


def _rule(node: Expr, ranges: Ranges) -> Expr:
    if isinstance(node, Cast) and node.value.dtype is node.dtype:
        return node.value
    if isinstance(node, Select) and isinstance(node.cond, Const):
        return node.then if node.cond.value else node.orelse
    if not isinstance(node, Binary) or not node.left.dtype.is_integer:
        return node
    left, right, op = node.left, node.right, node.op
    if isinstance(left, Const) and isinstance(right, Const):
        return fold_binary(node)
    if op in ("and", "or") and node.dtype is DType.BOOL:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Const):
                return other if bool(one.value) == (op == "and") else one
    if is_index(left) and is_index(right):
        if op in ("add", "sub", "mul"):
            return from_affine(*affine(node))
        if op in ("min", "max") or op in COMPARISON:
            return _decide(node, *_difference(left, right, ranges))
    if op in ("add", "sub", "shl", "shr") and isinstance(right, Const) and right.value == 0:
        return left
    if op == "add" and isinstance(left, Const) and left.value == 0:
        return right
    if op == "mul":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Const) and one.value in (0, 1):
                return other if one.value else one
    if op in ("min", "max"):
        (a, b), (c, d) = interval(left, ranges), interval(right, ranges)
        return _decide(node, a - d, b - c)
    return node


def _decide(node: Binary, low: int, high: int) -> Expr:
    """`node` given that left - right lies in low … high."""
    if node.op in ("min", "max"):
        if high <= 0:
            return node.left if node.op == "min" else node.right
        if low >= 0:
            return node.right if node.op == "min" else node.left
        return node
    always = {
        "lt": high < 0,
        "le": high <= 0,
        "gt": low > 0,
        "ge": low >= 0,
        "eq": low == high == 0,
        "ne": low > 0 or high < 0,
    }
    never = {
        "lt": low >= 0,
        "le": low > 0,
        "gt": high <= 0,
        "ge": high < 0,
        "eq": low > 0 or high < 0,
        "ne": low == high == 0,
    }
    if always[node.op]:
        return Const(1, DType.BOOL)
    return Const(0, DType.BOOL) if never[node.op] else node


def loop_range(loop: For, ranges: Ranges) -> Range:
    """Values the variable of `loop` takes."""
    return interval(loop.start, ranges)[0], interval(loop.stop, ranges)[1] - 1


def assume(cond: Expr, ranges: Ranges) -> dict[str, Range]:
    """`ranges` narrowed by a condition: a conjunction of comparisons of one variable with constants."""
    known = dict(ranges)
    if isinstance(cond, Binary) and cond.op == "and" and cond.dtype is DType.BOOL:
        return assume(cond.right, assume(cond.left, known))
    if isinstance(cond, Binary) and isinstance(cond.left, Var) and isinstance(cond.right, Const):
        low, high = known.get(cond.left.name, (DType.I32.min, DType.I32.max))
        value = int(cond.right.value)
        narrowed = {
            "lt": (low, min(high, value - 1)),
            "le": (low, min(high, value)),
            "gt": (max(low, value + 1), high),
            "ge": (max(low, value), high),
            "eq": (value, value),
        }.get(cond.op)
        if narrowed is not None:
            known[cond.left.name] = narrowed
    return known


def simplify_block(block: Block, ranges: Ranges | None = None) -> Block:
    """Simplifies every expression, drops what can never run, and puts the body of a single-trip loop in its place."""
    return tuple(_simplified_block(block, ranges or {}, {}))


def _simplified_block(block: Block, ranges: Ranges, values: Values) -> Iterator[Stmt]:
    """With the scalars in `values`, which are known, replaced."""
    known, constants = dict(ranges), dict(values)
    for s in block:
        if isinstance(s, For):
            yield from _simplified_loop(s, known, constants)
        elif isinstance(s, If):
            cond = _simplified(s.cond, known, constants)
            if isinstance(cond, Const):
                yield from _simplified_block(s.then if cond.value else s.orelse, known, constants)
            else:
                then = tuple(_simplified_block(s.then, assume(cond, known), constants))
                yield If(cond, then, tuple(_simplified_block(s.orelse, known, constants)))
        elif isinstance(s, Let):
            value = _simplified(s.value, known, constants)
            if isinstance(value, Const) and value.dtype is DType.I32:
                constants[s.name] = value
                continue
            if value.dtype.is_integer and not any(isinstance(n, Load) for n in walk_expr(value)):
                known[s.name] = interval(value, known)
            yield s if value is s.value else Let(s.name, value)
        elif isinstance(s, Store):
            active = None if s.active is None else _simplified(s.active, known, constants)
            index = tuple([_simplified(i, known, constants) for i in s.index])
            yield Store(s.buffer, index, _simplified(s.value, known, constants), active, s.apart)
        else:
            yield s


def _simplified_loop(loop: For, known: Ranges, values: Values) -> Iterator[Stmt]:
    start, stop = _simplified(loop.start, known, values), _simplified(loop.stop, known, values)
    low, high = interval(start, known)[0], interval(stop, known)[1] - 1
    if high < low:
        return
    trips = _simplified(Binary("sub", stop, start), known, {})
    if isinstance(trips, Const) and trips.value <= loop.step:
        if trips.value > 0:
            yield from _simplified_block(loop.body, known, {**values, loop.var: start})
        return
    body = tuple(_simplified_block(loop.body, {**known, loop.var: (low, high)}, values))
    if body:
        yield replace(loop, start=start, stop=stop, body=body)
