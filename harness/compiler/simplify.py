"""Interval arithmetic and simplification of expressions and blocks; what makes an unrolled loop readable again.

Only exact identities are used, so a simplified program computes the same values. Index arithmetic (no loads in it) is
brought to the form `sum of coefficient * atom + constant`, which decides most comparisons:

    for (ky = max(0, 1 - oy); …)          with 1 <= oy < 24
    for (ky = 0; …)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
    Store,
    Var,
    rewrite_expr,
    substitute,
    walk_expr,
)
from harness.dtypes import DType

Range = tuple[int, int]  # inclusive
Ranges = Mapping[str, Range]


def interval(node: Expr, ranges: Ranges) -> Range:
    """The values an integer expression can take when each variable is inside `ranges`; its dtype's range if unknown."""
    whole = (node.dtype.min, node.dtype.max)
    if isinstance(node, Const):
        return (int(node.value), int(node.value))
    if isinstance(node, Var):
        return ranges.get(node.name, whole)
    if isinstance(node, Cast) and node.value.dtype.is_integer:
        return interval(node.value, ranges)
    if isinstance(node, Select):
        (a, b), (c, d) = interval(node.then, ranges), interval(node.orelse, ranges)
        return (min(a, c), max(b, d))
    if not isinstance(node, Binary):
        return whole
    (a, b), (c, d) = interval(node.left, ranges), interval(node.right, ranges)
    if node.op == "add":
        return (a + c, b + d)
    if node.op == "sub":
        return (a - d, b - c)
    if node.op == "mul":
        corners = (a * c, a * d, b * c, b * d)
        return (min(corners), max(corners))
    if node.op == "min":
        return (min(a, c), min(b, d))
    if node.op == "max":
        return (max(a, c), max(b, d))
    if node.op == "div" and c > 0:
        return (int(a / c) if a < 0 else a // d, b // c if b >= 0 else -(-b // d))
    if node.op == "shr" and c == d:
        return (a >> c, b >> c)
    return whole


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


def simplify(node: Expr, ranges: Ranges | None = None) -> Expr:
    if isinstance(node, (Const, Var)):
        return node
    if node.dtype is DType.I32 and isinstance(node, Binary):
        linear = _linear(node)  # most indices: no need to go from the leaves up
        if linear is not None and linear[0] and DType.I32.min <= linear[1] <= DType.I32.max:
            return from_affine(*linear)
    known = ranges or {}
    return rewrite_expr(node, lambda n: _rule(n, known))


def _linear(node: Expr) -> tuple[dict[Expr, int], int] | None:
    """`affine` of sums, differences and multiples of variables; None where there is anything else."""
    if isinstance(node, Var):
        return {node: 1}, 0
    if isinstance(node, Const):
        return {}, int(node.value)
    if not isinstance(node, Binary) or node.op not in ("add", "sub", "mul"):
        return None
    left, right = _linear(node.left), _linear(node.right)
    if left is None or right is None:
        return None
    if node.op == "mul":
        (terms, constant), (others, by) = (left, right) if not right[0] else (right, left)
        if others:
            return None
        return {atom: factor * by for atom, factor in terms.items() if by}, constant * by
    (terms, constant), sign = left, 1 if node.op == "add" else -1
    for atom, factor in right[0].items():
        terms[atom] = terms.get(atom, 0) + sign * factor
    return {atom: factor for atom, factor in terms.items() if factor}, constant + sign * right[1]


def _difference(a: Expr, b: Expr, ranges: Ranges) -> Range:
    terms, constant = affine(Binary("sub", a, b))
    return interval(from_affine(terms, constant), ranges)


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
    known = dict(ranges or {})
    result: list = []
    for position, s in enumerate(block):
        if isinstance(s, For):
            loop = replace(s, start=simplify(s.start, known), stop=simplify(s.stop, known))
            low, high = loop_range(loop, known)
            if high < low:
                continue
            trips = simplify(Binary("sub", loop.stop, loop.start), known)
            if isinstance(trips, Const) and trips.value <= loop.step:
                if trips.value > 0:
                    result.extend(simplify_block(substitute(loop.body, {loop.var: loop.start}), known))
                continue
            body = simplify_block(loop.body, {**known, loop.var: (low, high)})
            if body:
                result.append(replace(loop, body=body))
        elif isinstance(s, If):
            cond = simplify(s.cond, known)
            if isinstance(cond, Const):
                result.extend(simplify_block(s.then if cond.value else s.orelse, known))
            else:
                then = simplify_block(s.then, assume(cond, known))
                result.append(If(cond, then, simplify_block(s.orelse, known)))
        elif isinstance(s, Let):
            value = simplify(s.value, known)
            if isinstance(value, Const) and value.dtype is DType.I32:
                rest = substitute(block[position + 1 :], {s.name: value})
                return (*result, *simplify_block(rest, known))
            if value.dtype.is_integer and not any(isinstance(n, Load) for n in walk_expr(value)):
                known[s.name] = interval(value, known)
            result.append(Let(s.name, value))
        elif isinstance(s, Store):
            active = None if s.active is None else simplify(s.active, known)
            index = tuple(simplify(i, known) for i in s.index)
            result.append(replace(s, index=index, value=simplify(s.value, known), active=active))
        else:
            result.append(s)
    return tuple(result)
