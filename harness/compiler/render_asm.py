"""Prints a kernel, an innermost loop marked so by its schedule, as one block of Thumb-2 assembly.

    for (k …) {                                  1:
        const uint32_t x = load(&patch[…]);          ldr t0, [patch_at], #4
        const uint32_t w = load(&weights[…]);        ldr t1, [weights_at], #4
        acc = nn_smlad(x, w, acc);                   smlad acc, t0, t1, acc
    }                                                cmp patch_at, patch_end
                                                     bne 1b

The text follows from the loop alone: loads become instructions on pointers that walk as the loop does, a named value
gets a temporary for as long as it is needed, and every call has the instruction that its intrinsic names. What the
block computes is the loop, which the interpreter ran; that it is the loop, the device's answers show. The plain C of
the loop stands beside it, for builds without optimisation, where no fourteen registers are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from harness.compiler.loops import Binary, Buffer, Call, Cast, Const, Expr, For, Let, Load, Store, Var
from harness.compiler.schedule import copy
from harness.compiler.simplify import affine, from_affine, simplify
from harness.dtypes import DType
from harness.errors import CompilerBug

REGISTERS = 13  # operands that fit beside what addresses the stack; r0 … r12 and lr are 14
GUARD = "#if defined(__thumb2__) && defined(__OPTIMIZE__)"
_LOADS = {DType.I8: "ldrsb", DType.U8: "ldrb", DType.I16: "ldrsh", DType.I32: "ldr", DType.U32: "ldr"}


@dataclass
class _Pointer:
    """Walks through one buffer: every access at a constant distance from where the iteration starts."""

    name: str
    buffer: Buffer
    start: Expr  # element that the first access of the first iteration reads
    step: int  # bytes from one iteration to the next
    aligned: bool  # to words, in every iteration
    first: int  # byte offset of the first access
    stream: bool = False  # every access lies a little after the one before
    at: int = 0  # byte offset the pointer has now, while instructions are printed
    ahead: list[int] = field(default_factory=list)  # offsets of the accesses still to be printed, and of the next round


@dataclass(frozen=True)
class _Access:
    names: tuple[str, ...]  # of the values loaded: two for a pair of words
    mnemonic: str
    pointer: _Pointer
    offset: int  # bytes


@dataclass(frozen=True)
class _Operation:
    text: str  # with {name} for operands
    result: str | None  # a named value; None where an accumulator is changed in place
    uses: tuple[str, ...]


_Item = _Access | _Operation


def kernel(loop: For, expression: Callable[[Expr], str], plain: list[str], pad: str) -> list[str]:
    """C lines of `loop`: the block, and `plain`, its ordinary C, for where the block is not to be used.

    Raises CompilerBug for what cannot be printed as assembly.
    """
    block = _Kernel(loop)
    return [GUARD, *(pad + line for line in block.lines(expression)), "#else", *plain, "#endif"]


class _Kernel:
    def __init__(self, loop: For) -> None:
        if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
            raise self.refuse("a kernel without constant bounds", loop.var)
        self.loop = loop = _written_out(loop)
        assert isinstance(loop.start, Const)
        assert isinstance(loop.stop, Const)
        self.trips = -((int(loop.start.value) - int(loop.stop.value)) // loop.step)
        self.pointers: dict[object, _Pointer] = {}
        self.accumulators: dict[str, Buffer] = {}
        self.values: dict[str, str] = {}  # named values, and the temporary each has
        items = [self.item(s) for s in loop.body]
        self.items = _paired(items)
        self.temporaries = self.allocate()

    def refuse(self, what: str, node: object) -> CompilerBug:
        return CompilerBug(f"{what} cannot be printed as assembly: {node}")

    # ---- what the loop does

    def item(self, s: object) -> _Item:
        if isinstance(s, Let):
            value = s.value.value if isinstance(s.value, Cast) else s.value
            if (isinstance(value, Load) and value.buffer.space != "register") or _is_array(value):
                assert isinstance(value, Load)
                return self.access(s.name, value)
            if isinstance(s.value, Call):
                return self.call(s.value, s.name)
        if isinstance(s, Store) and s.buffer.space == "register" and not s.buffer.shape:
            self.accumulators[s.buffer.name] = s.buffer
            value = s.value
            if isinstance(value, Call):
                return self.call(value, None, s.buffer)
            if isinstance(value, Binary) and value.op == "add" and value.left == Load(s.buffer, ()):
                product = value.right
                if isinstance(product, Binary) and product.op == "mul":
                    left, right = self.operand(product.left), self.operand(product.right)
                    acc = s.buffer.name
                    return _Operation(f"mla {{{acc}}}, {{{left}}}, {{{right}}}, {{{acc}}}", None, (left, right))
        raise self.refuse("a statement", s)

    def access(self, name: str, node: Load) -> _Access:
        flat: Expr = Const(0)
        for part, size in zip(node.index, node.buffer.shape, strict=True):
            flat = Binary("add", Binary("mul", flat, Const(size)), part)
        terms, constant = affine(simplify(flat))
        width = node.buffer.element.bytes
        advance = terms.pop(Var(self.loop.var), 0)
        key = (node.buffer, advance, frozenset(terms.items()))
        offset = constant * width
        if key not in self.pointers:
            assert isinstance(self.loop.start, Const)
            start = from_affine(terms, constant + advance * int(self.loop.start.value))
            step = advance * self.loop.step * width
            words = all(factor * width % 4 == 0 for factor in (*terms.values(), advance * self.loop.step))
            taken = sum(p.buffer is node.buffer for p in self.pointers.values())
            label = f"{node.buffer.name}_at" + (f"_{taken}" if taken else "")
            aligned = words and node.buffer.align >= 4
            self.pointers[key] = _Pointer(label, node.buffer, start, step, aligned, offset)
        lanes = node.lanes
        if lanes is not None and lanes.bytes != 4:
            raise self.refuse("a vector that no core register holds", node)
        mnemonic = "ldr" if lanes is not None else _LOADS[node.buffer.element]
        self.values[name] = name
        return _Access((name,), mnemonic, self.pointers[key], offset)

    def call(self, node: Call, name: str | None, register: Buffer | None = None) -> _Operation:
        how = node.intrinsic.asm
        if how is None:
            raise self.refuse("an intrinsic without an instruction", node.intrinsic.name)
        operands = []
        for position, arg in enumerate(node.args):
            if register is not None and position == how.accumulates:
                if arg != Load(register, ()):
                    raise self.refuse("an accumulation into another register", node)
                operands.append(register.name)
            else:
                operands.append(self.operand(arg))
        result = register.name if register is not None else name
        assert result is not None
        fields = {str(i): f"{{{operand}}}" for i, operand in enumerate(operands)}
        text = how.text
        for key, operand in {**fields, "d": f"{{{result}}}"}.items():
            text = text.replace(f"{{{key}}}", operand)
        if name is not None:
            self.values[name] = name
        return _Operation(text, name, tuple(o for o in operands if o in self.values))

    def operand(self, node: Expr) -> str:
        if isinstance(node, Cast):
            node = node.value
        if isinstance(node, Var) and node.name in self.values:
            return node.name
        raise self.refuse("an operand that the loop did not name", node)

    # ---- registers

    def allocate(self) -> list[str]:
        """Gives every named value a temporary from its definition to its last use; the temporaries."""
        last: dict[str, int] = {}
        for position, item in enumerate(self.items):
            for name in item.uses if isinstance(item, _Operation) else item.names:
                last[name] = position
        free: list[str] = []
        everyone: list[str] = []
        for position, item in enumerate(self.items):
            used = item.uses if isinstance(item, _Operation) else ()
            free += [self.values[name] for name in dict.fromkeys(used) if last[name] == position]
            made = item.names if isinstance(item, _Access) else () if item.result is None else (item.result,)
            for name in made:
                if not free:
                    free.append(f"t{len(everyone)}")
                    everyone.append(free[-1])
                self.values[name] = free.pop()
                if last.get(name, position) <= position:
                    free.append(self.values[name])
        return everyone

    # ---- text

    def lines(self, expression: Callable[[Expr], str]) -> list[str]:
        walking = next((p for p in self.pointers.values() if p.step), None)
        if walking is None:
            raise self.refuse("a loop that walks through no buffer", self.loop.var)
        body = self.instructions()
        short = len(self.accumulators) + len(self.pointers) + len(self.temporaries) + 1 > REGISTERS
        end = f"{walking.name}_end"
        if self.trips > 1:
            compared = "t0" if short else end
            body += [f"ldr {{t0}}, {{{end}}}"] if short else []
            body += [f"cmp {{{walking.name}}}, {{{compared}}}", "bne 1b"]
            body.insert(0, "1:")
        text = [line.replace("{", "%[").replace("}", "]") for line in body]
        lines = ["{"]
        lines += [
            f"    const {p.buffer.element.c} *{p.name} = &{p.buffer.name}[{expression(p.start)}];"
            for p in self.pointers.values()
        ]
        if self.trips > 1:
            far = self.trips * walking.step // walking.buffer.element.bytes
            kind = walking.buffer.element.c
            sign = "+" if far >= 0 else "-"
            lines.append(f"    const {kind} *const {end} = {walking.name} {sign} {abs(far)};")
        if self.temporaries:
            lines.append(f"    uint32_t {', '.join(self.temporaries)};")
        lines += ["    __asm__("]
        lines += [f'        "{line}\\n\\t"' for line in text[:-1]] + [f'        "{text[-1]}"']
        outputs = [f'[{name}] "+r"({name})' for name in (*self.accumulators, *(p.name for p in self.pointers.values()))]
        outputs += [f'[{name}] "=&r"({name})' for name in self.temporaries]
        inputs = [f'[{end}] "{"m" if short else "r"}"({end})'] if self.trips > 1 else []
        lines += _listed("        : ", outputs) + _listed("        : ", inputs) + ['        : "cc", "memory");', "}"]
        return lines

    def instructions(self) -> list[str]:
        for p in self.pointers.values():
            p.at = p.first
            p.ahead = [item.offset for item in self.items if isinstance(item, _Access) and item.pointer is p]
            p.ahead = [*p.ahead[1:], p.first + p.step]
            # A stream moves its pointer with every load; one that goes back and forth stays, and is moved at the end.
            offsets = [p.first, *p.ahead]
            p.stream = all(0 < after - before <= 255 for before, after in pairwise(offsets))
        result = []
        for item in self.items:
            if isinstance(item, _Access):
                result.append(self.load(item))
            else:
                result.append(self.named(item.text))
        for p in self.pointers.values():
            rest = p.first + p.step - p.at
            if rest:
                result.append(f"{'add' if rest > 0 else 'sub'} {{{p.name}}}, {{{p.name}}}, #{abs(rest)}")
        return result

    def named(self, text: str) -> str:
        for name, temporary in self.values.items():
            text = text.replace(f"{{{name}}}", f"{{{temporary}}}")
        return text

    def load(self, item: _Access) -> str:
        p, offset = item.pointer, item.offset
        target = p.ahead.pop(0)
        registers = ", ".join(f"{{{self.values[name]}}}" for name in item.names)
        pair = item.mnemonic == "ldrd"
        reach = 1020 if pair else 255
        delta = target - offset
        if p.stream and offset == p.at:
            p.at = target
            return f"{item.mnemonic} {registers}, [{{{p.name}}}], #{delta}"
        distance = offset - p.at
        if not -reach <= distance <= (1020 if pair else 4095) or (pair and distance % 4):
            raise self.refuse("an access too far from the pointer", item.names[0])
        return f"{item.mnemonic} {registers}, [{{{p.name}}}" + (f", #{distance}]" if distance else "]")


def _written_out(loop: For) -> For:
    """The iterations that the block takes at a time, in one body."""
    copies = [
        copy(loop.body, f"_{n}", {loop.var: Binary("add", Var(loop.var), Const(n * loop.step))})
        for n in range(loop.kernel)
    ]
    return replace(loop, step=loop.step * loop.kernel, body=tuple(s for one in copies for s in one))


def _is_array(node: Expr) -> bool:
    return isinstance(node, Load) and node.buffer.space == "register" and bool(node.buffer.shape)


def _paired(items: list[_Item]) -> list[_Item]:
    """Two loads of neighbouring words in a row become one LDRD, which wants an aligned address."""
    result: list[_Item] = []
    for item in items:
        before = result[-1] if result else None
        if (
            isinstance(item, _Access)
            and isinstance(before, _Access)
            and item.pointer is before.pointer
            and (item.mnemonic, before.mnemonic) == ("ldr", "ldr")
            and item.offset == before.offset + 4
            and item.pointer.aligned
            and before.offset % 4 == 0
        ):
            result[-1] = _Access((*before.names, *item.names), "ldrd", item.pointer, before.offset)
        else:
            result.append(item)
    return result


def _listed(head: str, operands: list[str]) -> list[str]:
    """Operands of one kind, as many to a line as fit."""
    lines, line = [], head.rstrip() if not operands else head
    for i, operand in enumerate(operands):
        text = operand + ("" if i == len(operands) - 1 else ",")
        if len(line) + len(text) > 96 and line.strip(": "):
            lines.append(line.rstrip())
            line = " " * len(head)
        line += text + " "
    return [*lines, line.rstrip()]
