"""Location expressions: from debug information and what is known of a frame to the bytes of a variable (DWARF 5, 2.5
and 2.6). What cannot be known raises `Unknown`; nothing is ever made up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elftools.dwarf.dwarf_expr import DWARFExprParser

from harness.debug.memory import Memory

_WORD = 0xFFFFFFFF
_LARGEST_NUMBER = 16  # bytes
_MAX_STEPS = 1000  # of one expression, which may loop
_CORE = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
OPTIMISED_OUT = "optimized out"
NOT_RECORDED = "not in the record"
NOT_SAVED = "in a register that was not kept"
_NOT_EVALUATED = "in a form that is not evaluated"


class Unknown(Exception):
    """A value cannot be known; the argument says why, as a phrase."""


class Content(ABC):
    """Where the bytes of a variable come from."""

    address: int | None = None  # in memory; None when it is not there

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises Unknown."""


class InMemory(Content):
    def __init__(self, address: int, memory: Memory) -> None:
        self.address: int = address
        self._memory = memory

    def read(self, offset: int, size: int) -> bytes:
        data = self._memory.read(self.address + offset & _WORD, size)
        if data is None:
            raise Unknown(NOT_RECORDED)
        return data


class InBytes(Content):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        found = self._data[offset : offset + size]
        if len(found) != size:
            raise Unknown(_NOT_EVALUATED)
        return found


class InRegisters(Content):
    """In one register or, if it is longer, in those that follow."""

    def __init__(self, number: int, context: Context) -> None:
        self._number = number
        self._context = context

    def read(self, offset: int, size: int) -> bytes:
        last = offset + size
        data = b""
        number = self._number
        while len(data) < last:
            data += self._context.register_bytes(number)
            number += 1
        return data[offset:last]


class InPieces(Content):
    def __init__(self, pieces: Sequence[tuple[int, Content | Unknown]]) -> None:
        self._pieces = pieces  # (bytes, where they are or why that is not known)

    def read(self, offset: int, size: int) -> bytes:
        data, start = b"", 0
        for length, content in self._pieces:
            first, last = max(offset, start), min(offset + size, start + length)
            if first < last:
                if isinstance(content, Unknown):
                    raise content
                data += content.read(first - start, last - first)
            start += length
        if len(data) != size:
            raise Unknown(OPTIMISED_OUT)
        return data


@dataclass(frozen=True)
class Context:
    """What an expression may ask of the frame it belongs to. The functions raise Unknown."""

    registers: Mapping[str, int]
    memory: Memory
    unit: Any  # pyelftools' compilation unit of the expression
    frame_address: Callable[[], int]  # the canonical frame address
    frame_base: Callable[[], int]  # of the function, which DW_OP_fbreg counts from
    entry_value: Callable[[int], Number]  # what a register, by its number, held when the function was called

    def register(self, number: int) -> int:
        """A core register by DWARF's number (AADWARF32 4.1)."""
        value = self.registers.get(_CORE[number]) if number < len(_CORE) else None
        if value is None:
            raise Unknown(NOT_SAVED)
        return value

    def register_bytes(self, number: int) -> bytes:
        """Any register: 64 and up are S0 to S31, 256 and up D0 to D31."""
        if 64 <= number < 96:
            names: tuple[str, ...] = (f"s{number - 64}",)
        elif 256 <= number < 272:
            names = (f"s{2 * (number - 256)}", f"s{2 * (number - 256) + 1}")
        else:
            return self.register(number).to_bytes(4, "little")
        if any(name not in self.registers for name in names):
            raise Unknown(NOT_SAVED)
        return b"".join(self.registers[name].to_bytes(4, "little") for name in names)

    def parse(self, expression: Sequence[int]) -> list[Any]:
        return DWARFExprParser(self.unit.structs).parse_expr(expression)


def locate(operations: Sequence[Any], context: Context) -> Content:
    """Where the expression `operations`, as pyelftools parses it, says that a variable is. Raises Unknown."""
    if not operations:
        raise Unknown(OPTIMISED_OUT)
    pieces: list[tuple[int, Content | Unknown]] = []
    simple: list[Any] = []
    for operation in operations:
        if operation.op_name == "DW_OP_bit_piece":
            raise Unknown(_NOT_EVALUATED)
        if operation.op_name != "DW_OP_piece":
            simple.append(operation)
            continue
        try:
            pieces.append((operation.args[0], _simple(simple, context)))
        except Unknown as why:
            pieces.append((operation.args[0], why))
        simple = []
    return InPieces(pieces) if pieces else _simple(simple, context)


def _simple(operations: Sequence[Any], context: Context) -> Content:
    if not operations:
        raise Unknown(OPTIMISED_OUT)
    last = operations[-1]
    name = last.op_name
    if len(operations) == 1 and name == "DW_OP_regx":
        return InRegisters(last.args[0], context)
    if len(operations) == 1 and name.startswith("DW_OP_reg") and name[9:].isdigit():
        return InRegisters(int(name[9:]), context)
    if name == "DW_OP_implicit_value":
        return InBytes(bytes(last.args[0]))
    if name.endswith("implicit_pointer"):
        raise Unknown(OPTIMISED_OUT)  # what it pointed to is known perhaps, but it has no address
    value = evaluate(operations[:-1] if name == "DW_OP_stack_value" else operations, context)
    if name == "DW_OP_stack_value":
        return InBytes((value.bits & (1 << 8 * value.size) - 1).to_bytes(value.size, "little"))
    return InMemory(value.bits & _WORD, context.memory)


@dataclass(frozen=True)
class Number:
    """An entry of an expression's stack. `signed` is None for the generic type: its operators choose by themselves."""

    bits: int  # as an unsigned number
    size: int = 4  # bytes
    signed: bool | None = None
    real: bool = False  # the bits of a float, which are only passed on

    @property
    def value(self) -> int:
        """As the signed number it may be."""
        top = 1 << 8 * self.size - 1
        return (self.bits & top - 1) - (self.bits & top)

    def like(self, value: int) -> Number:
        return Number(value & (1 << 8 * self.size) - 1, self.size, self.signed, self.real)


def evaluate(operations: Sequence[Any], context: Context) -> Number:
    """The number on top of the stack after `operations`. Raises Unknown."""
    places = {operation.offset: index for index, operation in enumerate(operations)}
    stack: list[Number] = []
    at = 0
    try:
        for _ in range(_MAX_STEPS):
            if at >= len(operations):
                return stack[-1]
            operation = operations[at]
            name, at = operation.op_name.removeprefix("DW_OP_"), at + 1
            if name == "skip" or (name == "bra" and stack.pop().bits):
                target = operation.offset + 3 + operation.args[0]
                # what is behind the last operator has no place in the table: there the expression ends
                last = operations[-1].offset
                ends = target == operation.offset + 3 if at == len(operations) else target > last
                at = len(operations) if ends else places[target]
            elif name != "bra":
                _step(name, operation.args, stack, context)
    except (IndexError, KeyError, ZeroDivisionError) as error:
        raise Unknown(_NOT_EVALUATED) from error
    raise Unknown(_NOT_EVALUATED)


def _step(name: str, args: Sequence[Any], stack: list[Number], context: Context) -> None:
    name = name.removeprefix("GNU_")
    if (name in _BINARY or name in _UNARY or name == "plus_uconst") and any(number.real for number in stack[-2:]):
        raise Unknown(_NOT_EVALUATED)
    if name in _BINARY:
        right, left = stack.pop(), stack.pop()
        if (left.size, left.signed) != (right.size, right.signed) and name not in ("shl", "shr", "shra"):
            raise Unknown(_NOT_EVALUATED)
        stack.append(_BINARY[name](left, right))
    elif name in _UNARY:
        stack.append(stack[-1].like(_UNARY[name](stack.pop())))
    elif name.startswith("lit"):
        stack.append(Number(int(name[3:])))
    elif name.startswith("const") and name not in ("const_type", "constx"):
        stack.append(Number(args[0] & _WORD))
    elif name == "addr":
        stack.append(Number(args[0]))
    elif name == "fbreg":
        stack.append(Number(context.frame_base() + args[0] & _WORD))
    elif name == "bregx":
        stack.append(Number(context.register(args[0]) + args[1] & _WORD))
    elif name.startswith("breg"):
        stack.append(Number(context.register(int(name[4:])) + args[0] & _WORD))
    elif name == "plus_uconst":
        stack.append(stack[-1].like(stack.pop().bits + args[0]))
    elif name == "call_frame_cfa":
        stack.append(Number(context.frame_address()))
    elif name in _SHUFFLES:
        _SHUFFLES[name](stack, args)
    elif name in ("deref", "deref_size"):
        size = args[0] if args else 4
        stack.append(Number(int.from_bytes(InMemory(stack.pop().bits, context.memory).read(0, size), "little")))
    elif name == "entry_value":
        stack.append(context.entry_value(register_of(args[0])))
    elif name in ("regval_type", "const_type", "convert", "reinterpret", "deref_type"):
        _typed(name, args, stack, context)
    elif name != "nop":
        raise Unknown(_NOT_EVALUATED)


def register_of(operations: Sequence[Any]) -> int:
    """The register, by DWARF's number, that an entry value or a parameter of a call stands for."""
    name = operations[0].op_name.removeprefix("DW_OP_").removeprefix("GNU_") if len(operations) == 1 else ""
    if name in ("regx", "regval_type"):
        return int(operations[0].args[0])
    if name.startswith("reg") and name[3:].isdigit():
        return int(name[3:])
    raise Unknown(_NOT_EVALUATED)


def _typed(name: str, args: Sequence[Any], stack: list[Number], context: Context) -> None:
    """Operators that name a base type. Numbers are not converted from and to floats."""
    reference = args[1] if name in ("regval_type", "deref_type") else args[0]
    like = _base_type(reference, context)
    if name == "regval_type":
        data = InRegisters(args[0], context).read(0, like.size)
        stack.append(like.like(int.from_bytes(data, "little")))
    elif name == "deref_type":
        data = InMemory(stack.pop().bits, context.memory).read(0, args[0])
        stack.append(like.like(int.from_bytes(data, "little")))
    elif name == "const_type":
        stack.append(like.like(int.from_bytes(bytes(args[1]), "little")))
    else:
        old = stack.pop()
        if name == "convert" and (old.real or like.real) and (old.size, old.real) != (like.size, like.real):
            raise Unknown(_NOT_EVALUATED)
        stack.append(like.like(old.value if old.signed and name == "convert" else old.bits))


def _base_type(reference: int, context: Context) -> Number:
    """A zero of the type at `reference`."""
    if reference == 0:
        return Number(0)
    die = context.unit.get_DIE_from_refaddr(context.unit.cu_offset + reference)
    encoding, size = (die.attributes[f"DW_AT_{what}"].value for what in ("encoding", "byte_size"))
    if encoding not in (2, 4, 5, 6, 7, 8) or not 0 < size <= _LARGEST_NUMBER:
        raise Unknown(_NOT_EVALUATED)
    return Number(0, size, encoding in (5, 6), encoding == 4)


def _divided(left: Number, right: Number) -> Number:
    if left.signed is False:
        return left.like(left.bits // right.bits)
    quotient = abs(left.value) // abs(right.value)
    return left.like(quotient if (left.value < 0) == (right.value < 0) else -quotient)


def _compared(test: Callable[[int, int], bool]) -> Callable[[Number, Number], Number]:
    def compare(left: Number, right: Number) -> Number:
        unsigned = left.signed is False
        return Number(int(test(left.bits, right.bits) if unsigned else test(left.value, right.value)))

    return compare


def _bits(operator: Callable[[int, int], int]) -> Callable[[Number, Number], Number]:
    return lambda left, right: left.like(operator(left.bits, right.bits))


_BINARY: Mapping[str, Callable[[Number, Number], Number]] = {
    "plus": _bits(lambda a, b: a + b),
    "minus": _bits(lambda a, b: a - b),
    "mul": _bits(lambda a, b: a * b),
    "and": _bits(lambda a, b: a & b),
    "or": _bits(lambda a, b: a | b),
    "xor": _bits(lambda a, b: a ^ b),
    "mod": _bits(lambda a, b: a % b),
    "shl": _bits(lambda a, b: a << min(b, 64)),
    "shr": _bits(lambda a, b: a >> min(b, 64)),
    "shra": lambda left, right: left.like(left.value >> min(right.bits, 64)),
    "div": _divided,
    "eq": _compared(lambda a, b: a == b),
    "ne": _compared(lambda a, b: a != b),
    "lt": _compared(lambda a, b: a < b),
    "le": _compared(lambda a, b: a <= b),
    "gt": _compared(lambda a, b: a > b),
    "ge": _compared(lambda a, b: a >= b),
}
_UNARY: Mapping[str, Callable[[Number], int]] = {
    "neg": lambda number: -number.value,
    "not": lambda number: ~number.bits,
    "abs": lambda number: abs(number.value),
}


def _rotate(stack: list[Number]) -> None:
    stack[-3:] = [stack[-1], stack[-3], stack[-2]]


_SHUFFLES: Mapping[str, Callable[[list[Number], Sequence[Any]], object]] = {
    "dup": lambda stack, args: stack.append(stack[-1]),
    "drop": lambda stack, args: stack.pop(),
    "over": lambda stack, args: stack.append(stack[-2]),
    "pick": lambda stack, args: stack.append(stack[-1 - args[0]]),
    "swap": lambda stack, args: stack.append(stack.pop(-2)),
    "rot": lambda stack, args: _rotate(stack),
}
