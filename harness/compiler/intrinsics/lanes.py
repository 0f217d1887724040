"""Vectors in memory: for each pair of elements and lanes the C that moves them, and the instruction.

What an access means is the interpreter's: consecutive elements, widened to the lanes when they are read, and 0 where
`active` leaves a lane out.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.dtypes import DType, Vec

I8, I16, I32 = DType.I8, DType.I16, DType.I32
I8X4, I16X2 = Vec(I8, 4), Vec(I16, 2)  # a core register
I8X16, I16X8, I32X4 = Vec(I8, 16), Vec(I16, 8), Vec(I32, 4)  # a vector register of MVE


@dataclass(frozen=True, eq=False)
class Access:
    """A load or a store of a vector. In `asm`, `{d}` is the register that is read or written and `{m}` the address.

    It is empty where one instruction does not do it.
    """

    name: str
    c: str
    asm: str
    needs: frozenset[str] = frozenset()
    header: str = ""


def _core(element: DType, lanes: Vec) -> tuple[Access, Access]:
    """A word of a core register, at any address: from Armv7-M on, cores load and store unaligned words."""
    name = f"{element.name.lower()}x{lanes.lanes}"
    load = f"""static inline uint32_t nn_load_{name}(const {element.c} *from)
{{
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return word;
}}"""
    store = f"""static inline void nn_store_{name}({element.c} *to, uint32_t word)
{{
    __builtin_memcpy(to, &word, 4);
}}"""
    needs = frozenset({"thumb2"})
    return (
        Access(f"nn_load_{name}", load, "ldr {d}, {m}", needs),
        Access(f"nn_store_{name}", store, "str {d}, {m}", needs),
    )


_SIZE = {1: "b", 2: "h", 4: "w"}


def _mve(element: DType, lanes: Vec, predicated: bool) -> tuple[Access, Access]:
    """A vector register; `vctp` makes the predicate of the lanes that take part."""
    bits = lanes.element.bytes * 8
    size, kind = _SIZE[element.bytes], f"s{bits}"
    name = f"{element.name.lower()}_as_{lanes.element.name.lower()}x{lanes.lanes}"
    count, p, z, arg = ("int32_t active, ", "_p", "_z", f", vctp{bits}q((uint32_t)active)") if predicated else ("",) * 4
    name += "_active" if predicated else ""
    load = f"""static inline {lanes.c} nn_load_{name}({count}const {element.c} *from)
{{
    return vldr{size}q{z}_{kind}(from{arg});
}}"""
    store = f"""static inline void nn_store_{name}({count}{element.c} *to, {lanes.c} value)
{{
    vstr{size}q{p}_{kind}(to, value{arg});
}}"""
    needs = frozenset({"mve"})
    then = "t" if predicated else ""
    return (
        Access(f"nn_load_{name}", load, f"vldr{size}{then}.s{bits} {{d}}, {{m}}", needs, "arm_mve.h"),
        Access(f"nn_store_{name}", store, f"vstr{size}{then}.{bits} {{d}}, {{m}}", needs, "arm_mve.h"),
    )


def _mve_apart(lanes: Vec, predicated: bool) -> tuple[Access, Access]:
    """Bytes that are `apart` from each other, as lanes: each has an offset of its own, as wide as the lane."""
    bits = lanes.element.bytes * 8
    name = f"i8_as_{lanes.element.name.lower()}x{lanes.lanes}_apart"
    count, p, z, arg = ("int32_t active, ", "_p", "_z", f", vctp{bits}q((uint32_t)active)") if predicated else ("",) * 4
    name += "_active" if predicated else ""
    offsets = f"vmulq_n_u{bits}(vidupq_n_u{bits}(0, 1), (uint{bits}_t)apart)"
    load = f"""static inline {lanes.c} nn_load_{name}({count}int32_t apart, const int8_t *from)
{{
    return vldrbq_gather_offset{z}_s{bits}(from, {offsets}{arg});
}}"""
    store = f"""static inline void nn_store_{name}({count}int32_t apart, int8_t *to, {lanes.c} value)
{{
    vstrbq_scatter_offset{p}_s{bits}(to, {offsets}, value{arg});
}}"""
    needs = frozenset({"mve"})
    return (
        Access(f"nn_load_{name}", load, "", needs, "arm_mve.h"),
        Access(f"nn_store_{name}", store, "", needs, "arm_mve.h"),
    )


def reach(lanes: Vec) -> int:
    """The most elements that neighbouring lanes can be apart: the last one's offset fits into its lane."""
    return ((1 << (lanes.element.bytes * 8)) - 1) // (lanes.lanes - 1)


_CORE = {(I8, I8X4): _core(I8, I8X4), (I16, I16X2): _core(I16, I16X2)}
_PAIRS = ((I8, I8X16), (I8, I16X8), (I8, I32X4), (I16, I16X8), (I16, I32X4), (I32, I32X4))
_MVE = {(e, v, predicated): _mve(e, v, predicated) for e, v in _PAIRS for predicated in (False, True)}
_APART = {(v, predicated): _mve_apart(v, predicated) for v in (I16X8, I32X4) for predicated in (False, True)}


def access(element: DType, lanes: Vec, *, predicated: bool, store: bool, apart: bool) -> Access | None:
    """How `lanes` are read from, or written to, memory of `element`; None where no core can."""
    if apart:
        wide = _APART.get((lanes, predicated)) if element is I8 else None
        return None if wide is None else wide[store]
    pair = _MVE.get((element, lanes, predicated))
    if pair is None and not predicated:
        pair = _CORE.get((element, lanes))
    return None if pair is None else pair[store]
