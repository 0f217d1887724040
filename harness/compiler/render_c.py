"""The only place that prints C. A program in, one function out; nothing here decides anything about speed.

The C is C11, freestanding, clean under -Wall -Wextra -Werror -Wconversion. Names come from the compiler, never from the
model file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.compiler import render_asm
from harness.compiler.accesses import access_of
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.lanes import Access
from harness.compiler.loops import (
    COMPARISON,
    Alloc,
    Binary,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Note,
    Program,
    Select,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from harness.compiler.scratch import scratch_of
from harness.compiler.simplify import flat_index
from harness.dtypes import DType, Vec
from harness.errors import CompilerBug

_SYMBOL = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "rem": "%", "shl": "<<", "shr": ">>", "and": "&", "or": "|",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip
_PRECEDENCE = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "&&": 2, "||": 1}
_ATOM, _UNARY, _LOWEST = 20, 15, 0
WIDTH = 120


def render_function(program: Program, shared: frozenset[str] = frozenset()) -> str:
    """The definition of the layer's function, its small tables before it; `shared` as for `signature`."""
    tables = [_table(buffer) for buffer in program.of_space("const") if not buffer.in_flash]
    unread = [b for b in program.of_space("input") if not any(_reads(s, b) for s in walk(program.body))]
    ignored = [f"    (void){b.name}; /* the output does not depend on it */" for b in unread]
    lines = [signature(program, shared), "{", *ignored, *_Printer().block(program.body, 1), "}", ""]
    return "\n".join([*tables, *(part for line in lines for part in wrapped(line))])


def signature(program: Program, shared: frozenset[str] = frozenset()) -> str:
    """`void NAME(const T *restrict input, …, T *restrict output, T *restrict scratch, …)`.

    Parameters named in `shared` may point to the same bytes: they are not `restrict`, and the C compiler keeps their
    loads and stores in order.
    """
    params = []
    for b in (*program.of_space("input"), *program.of_space("output"), *scratch_of(program)):
        const = "const " if b.space == "input" else ""
        params.append(f"{const}{b.dtype.c} *{'' if b.name in shared else 'restrict '}{b.name}")
    return f"void {program.name}({', '.join(params)})"


def intrinsics_of(program: Program) -> tuple[Intrinsic | Access, ...]:
    """Every intrinsic and vector access the program's C needs, each after those it uses."""
    found: dict[Intrinsic | Access, None] = {}

    def add(intrinsic: Intrinsic) -> None:
        for used in intrinsic.uses:
            add(used)
        found.setdefault(intrinsic)

    for s in walk(program.body):
        if isinstance(s, Store) and isinstance(s.value.dtype, Vec) and s.value.dtype != s.buffer.dtype:
            found.setdefault(moving(s))
        for e in expressions(s):
            for node in walk_expr(e):
                if isinstance(node, Call):
                    add(node.intrinsic)
                elif isinstance(node, Load) and node.lanes is not None:
                    found.setdefault(moving(node))
                elif isinstance(node, Binary) and node.op in ("min", "max"):
                    add(minmax(node))
    return tuple(found)


def moving(node: Load | Store) -> Access:
    """What moves the vector that `node` reads or writes. Raises CompilerBug where there is no such instruction."""
    found = access_of(node)
    if found is None:
        raise CompilerBug(f"no instruction moves a vector between a register and {node.buffer.element.value}")
    return found


def array(buffer: Buffer, qualifiers: str, name: str | None = None) -> str:
    """A constant as a C array definition."""
    assert buffer.data is not None
    aligned = f"_Alignas({buffer.align}) " if buffer.align > buffer.element.bytes else ""
    head = f"{aligned}{qualifiers}{buffer.dtype.c} {name or buffer.name}[{buffer.elements}] = {{"
    return "\n".join([head, *_filled(_literals(buffer.data, buffer.element)), "};", ""])


def _table(buffer: Buffer) -> str:
    return array(buffer, "static const ")


def _filled(items: list[str]) -> Iterator[str]:
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {item},"
    yield line


def _literals(data: np.ndarray, dtype: DType) -> list[str]:
    values = data.reshape(-1).tolist()
    if dtype.is_integer and dtype.bytes < 4:  # most of a model: the plain digits will do
        return list(map(str, values))
    return [_literal(value, dtype) for value in values]


def _literal(value: int | float, dtype: DType) -> str:
    if dtype is DType.F32:
        single = np.float32(value)
        if not np.isfinite(single):
            return "NAN" if np.isnan(single) else "INFINITY" if single > 0 else "-INFINITY"
        text = np.format_float_positional(single, unique=True, trim="0")
        if len(text) > 20:
            text = np.format_float_scientific(single, unique=True, trim="0")
        return f"{text}f"
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype is DType.I64:
        return f"INT64_C({value})"
    if dtype is DType.U32:
        return f"{value}u"
    return "INT32_MIN" if value == DType.I32.min else str(value)


class _Printer:
    def block(self, block: Block, depth: int) -> list[str]:
        pad = "    " * depth
        lines: list[str] = []
        declared_at = _first_stores(block)
        for position, s in enumerate(block):
            if isinstance(s, Alloc):
                if s.buffer not in declared_at and s.buffer.space != "scratch":
                    size = f"[{s.buffer.elements}]" if s.buffer.shape else ""
                    aligned = f"_Alignas({s.buffer.align}) " if s.buffer.align > 1 else ""
                    lines.append(f"{pad}{aligned}{s.buffer.dtype.c} {s.buffer.name}{size};")
            elif isinstance(s, Let):
                lines.append(f"{pad}const {s.value.dtype.c} {s.name} = {self.expr(s.value)};")
            elif isinstance(s, Store):
                lines.append(pad + self.store(s, declare=declared_at.get(s.buffer) == position))
            elif isinstance(s, Note):
                lines.append(f"{pad}/* {s.text} */")
            elif isinstance(s, For):
                loop = self.loop(s, depth)
                lines += render_asm.kernel(s, self.expr, loop, pad) if s.kernel else loop
            elif isinstance(s, If):
                lines += [f"{pad}if ({self.expr(s.cond)}) {{", *self.block(s.then, depth + 1)]
                if s.orelse:
                    lines += [f"{pad}}} else {{", *self.block(s.orelse, depth + 1)]
                lines.append(f"{pad}}}")
        return lines

    def loop(self, s: For, depth: int) -> list[str]:
        pad = "    " * depth
        advance = f"{s.var}++" if s.step == 1 else f"{s.var} += {s.step}"
        start, stop = self.expr(s.start), self.expr(s.stop, 7)
        head = f"{pad}for (int32_t {s.var} = {start}; {s.var} < {stop}; {advance}) {{"
        return [head, *self.block(s.body, depth + 1), f"{pad}}}"]

    def store(self, s: Store, declare: bool) -> str:
        place = self.place(s.buffer, s.index)
        value = s.value
        if isinstance(value.dtype, Vec) and value.dtype != s.buffer.dtype:
            return f"{moving(s).name}({self.counts(s)}&{place}, {self.expr(value)});"
        if declare:
            return f"{s.buffer.dtype.c} {place} = {self.expr(value)};"
        if (
            isinstance(value, Binary)
            and value.op in ("add", "sub")
            and value.left == Load(s.buffer, s.index)
            and s.buffer.space == "register"
        ):
            return f"{place} {_SYMBOL[value.op]}= {self.expr(value.right)};"
        return f"{place} = {self.expr(value)};"

    def counts(self, node: Load | Store) -> str:
        """The arguments of a vector access in front of the address."""
        active = "" if node.active is None else f"{self.expr(node.active)}, "
        return active if node.apart == 1 else f"{active}{node.apart}, "

    def place(self, buffer: Buffer, index: tuple[Expr, ...]) -> str:
        if not buffer.shape:
            return buffer.name
        return f"{buffer.name}[{self.expr(flat_index(index, buffer.shape))}]"

    def expr(self, node: Expr, outside: int = _LOWEST) -> str:
        """C for `node`, in brackets where it binds less tightly than `outside`."""
        text, strength = self.bare(node)
        return f"({text})" if strength < outside else text

    def bare(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, Const):
            text = _literal(node.value, node.dtype)
            return text, _UNARY if text.startswith("-") else _ATOM
        if isinstance(node, Var):
            return node.name, _ATOM
        if isinstance(node, Load) and node.lanes is not None:
            return f"{moving(node).name}({self.counts(node)}&{self.place(node.buffer, node.index)})", _ATOM
        if isinstance(node, Load):
            return self.place(node.buffer, node.index), _ATOM
        if isinstance(node, Cast):
            return self.cast(node)
        if isinstance(node, Select):
            parts = [self.expr(part, 4) for part in (node.cond, node.then, node.orelse)]
            return f"{parts[0]} ? {parts[1]} : {parts[2]}", 3
        if isinstance(node, Call):
            return f"{node.intrinsic.name}({', '.join(self.expr(a) for a in node.args)})", _ATOM
        return self.binary(node)

    def cast(self, node: Cast) -> tuple[str, int]:
        inner = node.value
        widens = inner.dtype.is_integer and node.dtype is DType.I32 and inner.dtype.bytes < 4
        if widens:  # C promotes the narrow integer by itself
            return self.bare(inner)
        return f"({node.dtype.c}){self.expr(inner, _UNARY)}", _UNARY

    def binary(self, node: Binary) -> tuple[str, int]:
        if node.op in ("min", "max"):
            return f"{minmax(node).name}({self.expr(node.left)}, {self.expr(node.right)})", _ATOM
        symbol = _SYMBOL[node.op]
        if node.dtype is DType.BOOL and node.op in ("and", "or"):
            symbol *= 2
        strength = 7 if node.op in COMPARISON else _PRECEDENCE.get(symbol, 5)
        # C's shifts and bit operators surprise readers, and GCC's -Wparentheses: bracket what is mixed with them.
        mixed = symbol in ("<<", ">>", "&", "|")
        left = self.expr(node.left, _UNARY if mixed else strength)
        right = self.expr(node.right, _UNARY if mixed else strength + 1)
        return f"{left} {symbol} {right}", strength


def minmax(node: Binary) -> Intrinsic:
    assert isinstance(node.dtype, DType)
    return MINMAX[node.op, node.dtype]


def _minmax(op: str, dtype: DType) -> Intrinsic:
    name = f"nn_{op}_{dtype.name.lower()}"
    sign = "<" if op == "min" else ">"
    c = f"static inline {dtype.c} {name}({dtype.c} a, {dtype.c} b)\n{{\n    return a {sign} b ? a : b;\n}}"
    pick = np.minimum if op == "min" else np.maximum
    return Intrinsic(name, (("a", dtype), ("b", dtype)), dtype, pick, c)


MINMAX = {(op, dtype): _minmax(op, dtype) for op in ("min", "max") for dtype in (DType.I32, DType.I64, DType.F32)}


_BREAKS = frozenset({*_SYMBOL.values(), "&&", "||", "=", "+=", "-=", "?", ":"})  # a line may end with one of these


def wrapped(line: str) -> list[str]:
    """A line of code as lines of at most WIDTH columns, broken where brackets are nested least, as late as possible.

    output[ox * 64 + c] =                 acc += (input[ox * 64 + c] + 128) *
        nn_saturate_i8(...);                     weights[kx * 64 + c];
    """
    return _wrapped(line, continued=False)


def _wrapped(line: str, continued: bool) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    pad = len(line) - len(line.lstrip())
    value: int | None = pad if continued else None  # the column that what follows an assignment starts in
    opened: list[int] = []  # the columns inside the brackets that are open
    depth = 0
    cuts: list[tuple[int, int, int]] = []  # brackets around it, column, indentation of what follows
    start = pad  # of the word
    for column in range(pad, min(len(line), WIDTH + 1)):
        c = line[column]
        if c in "([":
            opened.append(column + 1)
            depth += 1
        elif c in ")]":
            depth -= 1
            if opened:
                opened.pop()
        elif c == " ":
            word = line[start:column]
            start = column + 1
            if word in ("=", "+=", "-=") and value is None:
                value = column + 1
                cuts.append((depth, column, pad + 4))
            elif word in _BREAKS or word.endswith((",", ";")):
                cuts.append((depth, column, opened[-1] if opened else pad + 4 if value is None else value))
    if not cuts:
        return [line]
    _, column, indent = min(cuts, key=lambda cut: (cut[0], -cut[1]))
    return [line[:column], *_wrapped(" " * indent + line[column + 1 :], continued=True)]


def _first_stores(block: Block) -> dict[Buffer, int]:
    """Registers whose first use is a plain store in the block that declares them: declared and set in one line."""
    found: dict[Buffer, int] = {}
    for position, s in enumerate(block):
        if isinstance(s, Alloc) and not s.buffer.shape:
            for later in range(position + 1, len(block)):
                if _mentions(block[later], s.buffer):
                    first = block[later]
                    if isinstance(first, Store) and first.buffer is s.buffer and not _reads(first, s.buffer):
                        found[s.buffer] = later
                    break
    return found


def _reads(s: Stmt, buffer: Buffer) -> bool:
    return any(isinstance(n, Load) and n.buffer is buffer for e in expressions(s) for n in walk_expr(e))


def _mentions(s: Stmt, buffer: Buffer) -> bool:
    return any((isinstance(t, Store) and t.buffer is buffer) or _reads(t, buffer) for t in walk((s,)))
