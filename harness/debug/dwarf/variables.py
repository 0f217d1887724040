"""Arguments and local variables of the functions on a chain of calls, as far as debug information has their place and
the place can still be read.

A variable in a register of an outer frame is known only if the functions called since then kept that register or saved
it where it can be found; what a function was called with, if its caller's debug information says how it made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePath
from typing import Any

from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationExpr, LocationParser

from harness.debug.dwarf.cfi import CallFrames
from harness.debug.dwarf.location import (
    NOT_SAVED,
    OPTIMISED_OUT,
    Content,
    Context,
    InBytes,
    Number,
    Unknown,
    evaluate,
    locate,
    register_of,
)
from harness.debug.dwarf.scopes import inherited, origin_of
from harness.debug.dwarf.types import Type
from harness.debug.dwarf.values import UNREADABLE, ValuePrinter, scalar, size_of
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.symbolise import Place, Symboliser
from harness.debug.thumb import call_before
from harness.debug.unwinding.unwind import StackFrame

NOT_SET_YET = "not set yet"
_MAX_VARIABLES = 100  # of one function
_IN_REGISTERS = 4  # arguments
_MAX_ORIGINS = 200  # from one description to the one that it is an instance of
_MAX_NESTED = 4  # entry values that lead to entry values
_TAGS = ("DW_TAG_formal_parameter", "DW_TAG_variable")


@dataclass(frozen=True)
class Variable:
    """`value` is None when it is not known; `why` is then the reason, as a phrase."""

    name: str
    type: str
    value: str | None
    why: str = ""
    argument: bool = False
    address: int | None = None  # where it lies; None when that is not in memory
    number: int | None = None  # the value of an integer, enumerator, character or pointer
    points: bool = False  # it is a pointer

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "value": self.value,
            "why": self.why,
            "argument": self.argument,
            "address": self.address,
            "number": self.number,
        }


class VariableReader:
    """Of the frames of one chain. `describe` is that of `ValuePrinter`."""

    def __init__(
        self,
        image: Image,
        memory: Memory,
        frames: Sequence[StackFrame],
        call_frames: CallFrames,
        symbols: Symboliser,
        describe: Callable[[int], str],
    ) -> None:
        self._image = image
        self._memory = memory
        self._frames = frames
        self._call_frames = call_frames
        self._symbols = symbols
        self._printer = ValuePrinter(memory, describe)

    @cached_property
    def _locations(self) -> LocationParser:
        dwarf = self._image.dwarf
        return LocationParser(dwarf.location_lists() if dwarf is not None else None)

    def of(self, index: int, place: Place) -> tuple[Variable, ...]:
        """Those of the function `place` in frame number `index`, arguments first. Empty for a frame that is a guess."""
        frame = self._frames[index]
        if frame.via == "scan" or place.scope is None or place.scope.die is None:
            return ()
        found: dict[str, tuple[int, Variable]] = {}
        try:
            for die in self._visible(place.scope.die, frame.inside):
                variable = self._variable(die, index, place)
                # of variables with one name the innermost hides the others
                if variable is not None and variable.name not in found:
                    found[variable.name] = _declared(die) if variable.argument else 0, variable
                    if len(found) == _MAX_VARIABLES:
                        break
        except UNREADABLE:
            pass  # what was read before the damage is right
        return tuple(v for _, v in sorted(found.values(), key=lambda entry: (not entry[1].argument, entry[0])))

    def at_call(self, index: int, count: int) -> tuple[int | None, ...]:
        """The first `count` arguments that the function, not inlined, of frame number `index` was called with, each a
        pointer or an integer of at most 32 bits: as far as its caller says how it made them and they were in registers
        (AAPCS32, 6.5). A parameter may hold something else by now."""
        found: list[int | None] = [None] * count
        for register in range(min(count, _IN_REGISTERS)) if self._frames[index].via != "scan" else ():
            try:
                found[register] = self._entry_value(register, index, 1).bits & 0xFFFFFFFF
            except (Unknown, *UNREADABLE):
                continue
        return tuple(found)

    def _visible(self, scope: Any, address: int) -> Iterator[Any]:
        """Descriptions of the variables that can be named at `address`, those of inner blocks first."""
        for child in scope.iter_children():
            if child.tag == "DW_TAG_lexical_block" and self._covers(child, address):
                yield from self._visible(child, address)
        own = [child for child in scope.iter_children() if child.tag in _TAGS]
        yield from own
        # an inlined function's description leaves out what nothing is left of
        origin = origin_of(scope) if scope.tag != "DW_TAG_lexical_block" else None
        if origin is not None:
            present = {o.offset for o in map(origin_of, own) if o is not None}
            yield from (c for c in origin.iter_children() if c.tag in _TAGS and c.offset not in present)

    def _covers(self, block: Any, address: int) -> bool:
        from_ranges = self._symbols.ranges_of(block)
        return any(low <= address < high for low, high in from_ranges)

    def _variable(self, die: Any, index: int, place: Place) -> Variable | None:
        name, kind = inherited(die, "DW_AT_name"), inherited(die, "DW_AT_type")
        if name is None or "DW_AT_declaration" in die.attributes or inherited(die, "DW_AT_artificial") is not None:
            return None
        type_ = _type(die)
        text, argument = name.value.decode("utf-8", "replace"), die.tag == _TAGS[0]
        points = kind is not None and type_.bare.kind == "pointer"
        unknown = partial(Variable, text, type_.name, None, argument=argument, points=points)
        if kind is None:
            return unknown(OPTIMISED_OUT)
        content: Content | None = None
        try:
            content = self._content(die, index, type_)
            if content.address is not None and self._not_set(die, index, place):
                return unknown(NOT_SET_YET, address=content.address)
            value = self._printer.shown(type_, content)
            number = scalar(type_, content)
        except Unknown as why:
            return unknown(str(why), address=content.address if content is not None else None)
        except UNREADABLE:
            return unknown("its debug information cannot be read")
        return Variable(text, type_.name, value, "", argument, content.address, number, points)

    def _content(self, die: Any, index: int, type_: Type) -> Content:
        """Where the variable's bytes are. Raises Unknown."""
        attribute = die.attributes.get("DW_AT_location")
        if attribute is not None:
            context = self._context(index, die.cu)
            return locate(context.parse(self._expression(attribute, die, index)), context)
        constant = inherited(die, "DW_AT_const_value")
        if constant is not None:
            return InBytes(_constant(constant.value, size_of(type_)))
        outer = inherited(die, "DW_AT_location")  # of a static variable in a function that was inlined
        if outer is not None and outer.form == "DW_FORM_exprloc":
            context = self._context(index, die.cu)
            return locate(context.parse(outer.value), context)
        raise Unknown(OPTIMISED_OUT)

    def _expression(self, attribute: Any, die: Any, index: int) -> Sequence[int]:
        """The expression that holds at the frame's address. Raises Unknown where the list has none."""
        found = self._locations.parse_from_attribute(attribute, die.cu["version"], die)
        if isinstance(found, LocationExpr):
            return list(found.loc_expr)
        address = self._frames[index].inside
        low = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        base = low.value if low is not None else 0
        for entry in found:
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            if not isinstance(entry, LocationEntry):
                continue
            start = 0 if entry.is_absolute else base
            if start + entry.begin_offset <= address < start + entry.end_offset:
                return list(entry.loc_expr)
        raise Unknown(OPTIMISED_OUT)

    def _not_set(self, die: Any, index: int, place: Place) -> bool:
        """Whether a variable with one place for the whole function has nothing there so far: the stack's old bytes."""
        frame, attribute = self._frames[index], die.attributes.get("DW_AT_location")
        if attribute is None or attribute.form != "DW_FORM_exprloc" or place.scope is None:
            return False
        if any(op in bytes(attribute.value)[:1] for op in (b"\x03", b"\xa1")):
            return False  # DW_OP_addr, DW_OP_addrx: a static variable
        if not place.inlined and frame.exact and frame.inside < self._body(place, frame.inside):
            return True
        declared, file = inherited(die, "DW_AT_decl_line"), inherited(die, "DW_AT_decl_file")
        if die.tag == _TAGS[0] or declared is None or place.line is None or place.file is None or file is None:
            return False
        lines = self._symbols.unit_lines(frame.inside)
        same = lines is not None and PurePath(lines.file(file.value)).name == PurePath(place.file).name
        return same and declared.value > place.line

    def _body(self, place: Place, address: int) -> int:
        """Where the function's own statements begin, behind its prologue: at the second row of the line table."""
        lines = self._symbols.unit_lines(address)
        assert place.scope is not None
        start = next((low for low, high in place.scope.ranges if low <= address < high), address)
        return start if lines is None else lines.after(start)

    def _context(self, index: int, unit: Any, nested: int = 0) -> Context:
        frame = self._frames[index]

        def frame_address() -> int:
            found = self._call_frames.frame_address(frame.inside, frame.registers)
            if found is None:
                raise Unknown(NOT_SAVED)
            return found

        def frame_base() -> int:
            attribute = self._function(index).attributes.get("DW_AT_frame_base")
            if attribute is None or nested > _MAX_NESTED:
                raise Unknown(OPTIMISED_OUT)
            operations = context.parse(self._expression(attribute, self._function(index), index))
            if len(operations) == 1 and operations[0].op_name.startswith("DW_OP_reg"):
                return int.from_bytes(locate(operations, context).read(0, 4), "little")
            return evaluate(operations, context).bits

        def entry_value(register: int) -> Number:
            return self._entry_value(register, index, nested + 1)

        context = Context(frame.registers, self._memory, unit, frame_address, frame_base, entry_value)
        return context

    def _function(self, index: int) -> Any:
        """The description of the function, not inlined, whose code frame number `index` is in. Raises Unknown."""
        frame = self._frames[index]
        places = self._symbols.at(frame.inside, executed=frame.exact)
        if not places or places[-1].scope is None:
            raise Unknown(OPTIMISED_OUT)
        return places[-1].scope.die

    def _entry_value(self, register: int, index: int, nested: int) -> Number:
        """What `register` held when the function of a frame was called, by what its caller put there."""
        function = self._image.function_at(self._frames[index].inside)
        caller = self._frames[index + 1] if index + 1 < len(self._frames) else None
        if caller is None or caller.exact or caller.via == "scan" or function is None or nested > _MAX_NESTED:
            raise Unknown(OPTIMISED_OUT)
        call = call_before(self._memory.code, caller.pc)
        if call is None or call.target != function.address:
            raise Unknown(OPTIMISED_OUT)  # a tail call in between may have changed it
        for site in _call_sites(self._function(index + 1)):
            back = site.attributes.get("DW_AT_call_return_pc") or site.attributes.get("DW_AT_low_pc")
            if back is None or back.value & ~1 != caller.pc:
                continue
            context = self._context(index + 1, site.cu, nested)
            for parameter in site.iter_children():
                where = parameter.attributes.get("DW_AT_location")
                value = parameter.attributes.get("DW_AT_call_value") or parameter.attributes.get(
                    "DW_AT_GNU_call_site_value"
                )
                if where is None or value is None:
                    continue
                try:
                    if register_of(context.parse(where.value)) == register:
                        return evaluate(context.parse(value.value), context)
                except Unknown:
                    continue
        raise Unknown(OPTIMISED_OUT)


def _type(die: Any) -> Type:
    for _ in range(_MAX_ORIGINS):  # more is a circle
        if die is None or "DW_AT_type" in die.attributes:
            return Type(die.get_DIE_from_attribute("DW_AT_type") if die is not None else None)
        die = origin_of(die)
    return Type(None)


def _declared(die: Any) -> int:
    """Where the declaration of a parameter stands among the others: of an inlined function they are in any order."""
    for _ in range(_MAX_ORIGINS):
        origin = origin_of(die)
        if origin is None:
            break
        die = origin
    return int(die.offset)


def _call_sites(die: Any) -> Iterator[Any]:
    for child in die.iter_children():
        if child.tag in ("DW_TAG_call_site", "DW_TAG_GNU_call_site"):
            yield child
        elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
            yield from _call_sites(child)


def _constant(value: Any, size: int) -> bytes:
    if isinstance(value, int):
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(value)
