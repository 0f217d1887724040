"""A kernel as a function of assembly: what all instruction sets share.

The text follows from the loop alone: the array of sums lives in registers, loads become instructions on pointers that
walk as the loop does, a named value gets a temporary for as long as it is needed, and every call has the instruction
that its intrinsic names. What the function computes is the loop, which the interpreter ran; that it is the loop, the
device's answers show.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from harness.compiler.loops import Binary, Buffer, Call, Cast, Const, Expr, For, Let, Load, Store, Var, walk_expr
from harness.compiler.simplify import affine, flat_index, from_affine, simplify
from harness.dtypes import DType
from harness.errors import CompilerBug

MOST_SUMS = 8
_OPERAND = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class KernelFunction:
    """A function of the kernels' file. Equal kernels have equal names."""

    name: str
    signature: str
    text: str  # its definition
    guard: str  # the preprocessor's condition for a core that has the instructions


@dataclass
class Pointer:
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
class Fetch:
    names: tuple[str, ...]  # of the values loaded: two for a pair of words
    mnemonic: str
    pointer: Pointer
    offset: int  # bytes
    predicated: bool = False


@dataclass(frozen=True)
class Operation:
    text: str  # with <name> for operands
    result: str | None  # a named value; None where a sum is changed in place
    uses: tuple[str, ...]


Item = Fetch | Operation


class _Walk(NamedTuple):
    """Where a load reads, in elements: the sum of the terms, `first`, and `advance` for each value of the loop."""

    terms: dict[Expr, int]
    first: int
    advance: int
    key: object  # loads of one key share a pointer


class TooFewRegisters(CompilerBug):
    """The kernel would be right, were there more registers."""


class Kernel(ABC):
    """One loop. A subclass says which registers hold what, and how values are loaded."""

    guard = ""
    most_pointers = 0
    reach = 0  # bytes by which a load can move its pointer on

    def __init__(self, loop: For) -> None:
        if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
            raise self.refuse("a kernel without constant bounds", loop.var)
        self.loop = loop
        self.start = int(loop.start.value)
        self.step = loop.step * loop.kernel  # the kernel's own loop takes so many iterations at a time
        self.trips = -((self.start - int(loop.stop.value)) // self.step)
        self.turn = 0  # which of these iterations items are made of
        self.walks: dict[int, _Walk] = {}  # of loads, by their identity
        self.pointers: dict[object, Pointer] = {}
        self.array: Buffer | None = None  # of sums, once a statement has told which
        self.values: dict[str, str] = {}  # named values, and the temporary each has
        self.items = self.grouped(list(self.written_out()))
        if self.sums.elements > MOST_SUMS:
            raise self.refuse(f"a kernel of more than {MOST_SUMS} sums", loop.var)
        if len(self.pointers) > self.most_pointers:
            raise self.refuse(f"a kernel that walks more than {self.most_pointers} ways", loop.var)
        self.temporaries: list[str] = self.allocate()
        if self.room < 0:
            raise TooFewRegisters(f"a kernel that wants more registers than there are: {loop.var}")

    def refuse(self, what: str, node: object) -> CompilerBug:
        return CompilerBug(f"{what} cannot be printed as assembly: {node}")

    @property
    def sums(self) -> Buffer:
        if self.array is None:
            raise self.refuse("a kernel without sums", self.loop.var)
        return self.array

    # ---- what a subclass says

    @property
    @abstractmethod
    def room(self) -> int:
        """Core registers that are left; negative where there are too few of any kind."""

    @property
    @abstractmethod
    def scratch(self) -> list[str]:
        """Temporaries that the C compiler finds core registers for; the first holds the address of the sums."""

    @property
    def vectors(self) -> list[str]:
        """Registers of other kinds that are overwritten."""
        return []

    @abstractmethod
    def sum_register(self, number: int) -> str: ...

    def several(self, registers: list[str]) -> str:
        """A list of registers, as LDM has it."""
        return ", ".join(registers)

    @abstractmethod
    def temporary(self, number: int) -> str:
        """What stands for a temporary in an instruction."""

    def key(self, node: Load, advance: int, terms: frozenset[tuple[Expr, int]]) -> object:
        """Loads of one key share a pointer."""
        return (node.buffer, advance, terms)

    @abstractmethod
    def fetch(self, name: str, node: Load, pointer: Pointer, offset: int) -> Fetch: ...

    def grouped(self, items: list[Item]) -> list[Item]:
        """`items`, with loads made one that one instruction does."""
        return items

    def prepared(self) -> list[str]:
        """Instructions in front of the loop."""
        return []

    @abstractmethod
    def load(self, item: Fetch) -> str: ...

    # ---- what the loop does

    def written_out(self) -> Iterator[Item]:
        """The iterations that the kernel takes at a time, in order."""
        for turn in range(self.loop.kernel):
            self.turn = turn
            yield from map(self.item, self.loop.body)

    def named_in_turn(self, name: str) -> str:
        return f"{name}_{self.turn}"

    def item(self, s: object) -> Item:
        if isinstance(s, Let):
            value = s.value.value if isinstance(s.value, Cast) else s.value
            name = self.named_in_turn(s.name)
            if isinstance(value, Load):
                return self.access(name, value)
            if isinstance(s.value, Call):
                return self.call(s.value, name)
        if isinstance(s, Store):
            sum_ = self.sum_of(s)
            value = s.value
            if isinstance(value, Call):
                return self.call(value, sum_, s)
            if isinstance(value, Binary) and value.op == "add" and value.left == Load(s.buffer, s.index):
                product = value.right
                if isinstance(product, Binary) and product.op == "mul":
                    left, right = self.operand(product.left), self.operand(product.right)
                    return Operation(f"mla {sum_}, <{left}>, <{right}>, {sum_}", None, (left, right))
        raise self.refuse("a statement", s)

    def sum_of(self, s: Store) -> str:
        """The register of the sum that is stored."""
        if s.buffer.space != "register" or s.buffer.dtype is not DType.I32 or self.array not in (None, s.buffer):
            raise self.refuse("a store that is not to the one array of sums", s)
        self.array = s.buffer
        if len(s.index) != 1 or not isinstance(s.index[0], Const):
            raise self.refuse("a sum that changes from one iteration to the next", s)
        return self.sum_register(int(s.index[0].value))

    def walk(self, node: Load) -> _Walk:
        if id(node) not in self.walks:
            terms, first = affine(flat_index(node.index, node.buffer.shape))
            advance = terms.pop(Var(self.loop.var), 0)
            if any(n == Var(self.loop.var) for atom in terms for n in walk_expr(atom)):
                raise self.refuse("a load that does not walk evenly", node)
            self.walks[id(node)] = _Walk(terms, first, advance, self.key(node, advance, frozenset(terms.items())))
        return self.walks[id(node)]

    def access(self, name: str, node: Load) -> Fetch:
        terms, first, advance, key = self.walk(node)
        first += advance * self.turn * self.loop.step
        width = node.buffer.element.bytes
        offset = first * width
        if key not in self.pointers:
            start = from_affine(terms, first + advance * self.start)
            words = all(factor * width % 4 == 0 for factor in (*terms.values(), advance * self.step))
            space = {"const": "weights", "input": "input"}.get(node.buffer.space, node.buffer.name)
            taken = sum(p.name.startswith(space) for p in self.pointers.values())
            label = space + (f"_{taken}" if taken else "")
            aligned = words and node.buffer.align >= 4
            self.pointers[key] = Pointer(label, node.buffer, start, advance * self.step * width, aligned, offset)
        self.values[name] = name
        return self.fetch(name, node, self.pointers[key], offset)

    def call(self, node: Call, result: str, into: Store | None = None) -> Operation:
        """The instruction of `node`, whose result is a new value, or goes `into` the sum in register `result`."""
        how = node.intrinsic.asm
        if how is None:
            raise self.refuse("an intrinsic without an instruction", node.intrinsic.name)
        text = how.text
        used = []
        for position, arg in enumerate(node.args):
            if into is not None and position == how.accumulates:
                if arg != Load(into.buffer, into.index):
                    raise self.refuse("an accumulation into another register", node)
                text = text.replace(f"{{{position}}}", result)
            else:
                used.append(self.operand(arg))
                text = text.replace(f"{{{position}}}", f"<{used[-1]}>")
        if into is not None:
            return Operation(text.replace("{d}", result), None, tuple(used))
        self.values[result] = result
        return Operation(text.replace("{d}", f"<{result}>"), result, tuple(used))

    def operand(self, node: Expr) -> str:
        if isinstance(node, Cast):
            node = node.value
        if isinstance(node, Var) and self.named_in_turn(node.name) in self.values:
            return self.named_in_turn(node.name)
        raise self.refuse("an operand that the loop did not name", node)

    # ---- registers

    def allocate(self) -> list[str]:
        """Gives every named value a temporary from its definition to its last use; the temporaries."""
        last: dict[str, int] = {}
        for position, item in enumerate(self.items):
            for name in item.uses if isinstance(item, Operation) else item.names:
                last[name] = position
        free: list[str] = []
        everyone: list[str] = []
        for position, item in enumerate(self.items):
            used = item.uses if isinstance(item, Operation) else ()
            free += [self.values[name] for name in dict.fromkeys(used) if last[name] == position]
            made = item.names if isinstance(item, Fetch) else () if item.result is None else (item.result,)
            for name in made:
                if not free:
                    free.append(self.temporary(len(everyone)))
                    everyone.append(free[-1])
                self.values[name] = min(free)
                free.remove(self.values[name])
                if last.get(name, position) <= position:
                    free.append(self.values[name])
        return everyone

    # ---- text

    def walking(self) -> Pointer:
        """The pointer that tells when the loop is over."""
        found = next((p for p in self.pointers.values() if p.step > 0), None)
        if found is None:
            raise self.refuse("a loop that walks through no buffer", self.loop.var)
        return found

    def call_text(self, expression: Callable[[Expr], str]) -> str:
        args = [self.sums.name]
        args += [f"&{p.buffer.name}[{expression(p.start)}]" for p in self.pointers.values()]
        if self.trips > 1:
            p = self.walking()
            end = simplify(Binary("add", p.start, Const(self.trips * p.step // p.buffer.element.bytes)))
            args.append(f"&{p.buffer.name}[{expression(end)}]")
        return f"{self.function.name}({', '.join(args)});"

    @cached_property
    def function(self) -> KernelFunction:
        count = self.sums.elements
        registers = [self.sum_register(number) for number in range(count)]
        load, save = ("ldmia", "stmia") if count > 1 else ("ldr", "str")
        some = f"<t0>, {{{self.several(registers)}}}" if count > 1 else f"{registers[0]}, [<t0>]"
        body = self.instructions()
        inputs = ['[all] "m"(sums)']
        if self.trips > 1:
            compared = "<end>" if self.room else "<t0>"
            fetched = [] if self.room else ["ldr <t0>, <end>"]
            body = ["1:", *body, *fetched, f"cmp <{self.walking().name}>, {compared}", "bne 1b"]
            inputs.append(f'[end] "{"r" if self.room else "m"}"(end)')
        body = [f"{load} {some}", *self.prepared(), *body, "ldr <t0>, <all>", f"{save} {some}"]
        text = [_OPERAND.sub(r"%[\1]", line) for line in body]
        outputs = [f'[{p.name}] "+r"({p.name})' for p in self.pointers.values()]
        outputs += ['[t0] "+&r"(t0)', *(f'[{name}] "=&r"({name})' for name in self.scratch[1:])]
        clobbers = [f'"{register}"' for register in (*registers, *self.vectors)]
        lines = ["    int32_t *t0 = sums;"]
        if len(self.scratch) > 1:
            lines.append(f"    uint32_t {', '.join(self.scratch[1:])};")
        lines += ["    __asm__ volatile("]
        lines += [f'        "{line}\\n\\t"' for line in text[:-1]] + [f'        "{text[-1]}"']
        lines += listed("        : ", outputs) + listed("        : ", inputs)
        lines += listed("        : ", [*clobbers, '"cc"', '"memory");'])
        params = ["int32_t *sums", *(f"const {p.buffer.element.c} *{p.name}" for p in self.pointers.values())]
        if self.trips > 1:
            params.append(f"const {self.walking().buffer.element.c} *end")
        code = "\n".join(lines)
        name = f"nn_kernel_{hashlib.sha256(code.encode()).hexdigest()[:6]}"
        signature = f"void {name}({', '.join(params)})"
        comment = f"/* {count} sums, {self.loop.kernel} steps of the loop at a time. */"
        return KernelFunction(name, signature, f"{comment}\nKERNEL {signature}\n{{\n{code}\n}}", self.guard)

    def instructions(self) -> list[str]:
        for p in self.pointers.values():
            p.at = p.first
            p.ahead = [item.offset for item in self.items if isinstance(item, Fetch) and item.pointer is p]
            p.ahead = [*p.ahead[1:], p.first + p.step]
            # A stream moves its pointer with every load; one that goes back and forth stays, and is moved at the end.
            offsets = [p.first, *p.ahead]
            p.stream = all(0 < after - before <= self.reach for before, after in pairwise(offsets))
        result = self.printed()
        for p in self.pointers.values():
            rest = p.first + p.step - p.at
            if rest and self.trips > 1:
                result.append(f"{'add' if rest > 0 else 'sub'} <{p.name}>, <{p.name}>, #{abs(rest)}")
        return result

    def printed(self) -> list[str]:
        """The items in order."""
        return [self.load(item) if isinstance(item, Fetch) else self.named(item.text) for item in self.items]

    def named(self, text: str) -> str:
        return _OPERAND.sub(lambda found: self.values.get(found[1], found[0]), text)


def listed(head: str, operands: list[str]) -> list[str]:
    """Operands of one kind, as many to a line as fit."""
    lines, line = [], head.rstrip() if not operands else head
    for i, operand in enumerate(operands):
        text = operand + ("" if i == len(operands) - 1 else ",")
        if len(line) + len(text) > 96 and line.strip(": "):
            lines.append(line.rstrip())
            line = " " * len(head)
        line += text + " "
    return [*lines, line.rstrip()]
