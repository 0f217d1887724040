"""The published timing tables. Rows are named after the assembler column of the manuals' tables.

P is the cost of refilling the pipeline, 1 to 3 cycles; N the registers of a list.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.board import Board
from harness.errors import BadInput
from harness.profile.timing import Cost, Cycles, Step, Timing, fixed

_ONE_V6M = (
    "mov", "add", "adc", "adr", "sub", "sbc", "rsb", "neg", "mul", "cmp", "cmn", "and", "eor", "orr", "bic", "mvn",
    "tst", "lsl", "lsr", "asr", "ror", "sxth", "sxtb", "uxth", "uxtb", "rev", "rev16", "revsh", "nop", "cpsid",
    "cpsie", "sev",
)  # fmt: skip
_ONE_V7M = (
    *_ONE_V6M, "movw", "movt", "addw", "subw", "ssat", "usat", "orn", "teq", "rrx", "clz", "bfi", "bfc", "sbfx", "ubfx",
    "rbit",
)  # fmt: skip
# Table 3-1 of the Cortex-M4 gives each of these a row of its own: multiplication, packing, saturating and parallel
# arithmetic, all of one cycle.
_ONE_M4 = (
    "mla", "mls", "smull", "umull", "smlal", "umlal", "umaal",
    *(f"smul{a}{b}" for a in "bt" for b in "bt"), *(f"smla{a}{b}" for a in "bt" for b in "bt"),
    *(f"smlal{a}{b}" for a in "bt" for b in "bt"), *(f"smulw{b}" for b in "bt"), *(f"smlaw{b}" for b in "bt"),
    *(f"{name}{x}" for name in ("smuad", "smusd", "smlad", "smlsd", "smlald", "smlsld") for x in ("", "x")),
    *(f"{name}{r}" for name in ("smmul", "smmla", "smmls") for r in ("", "r")),
    "sxtb16", "uxtb16", "sxtab", "sxtah", "sxtab16", "uxtab", "uxtah", "uxtab16", "pkhbt", "pkhtb", "sel", "usad8",
    "usada8", "ssat16", "usat16", "qadd", "qsub", "qdadd", "qdsub",
    *(p + o for p in ("s", "u", "q", "uq", "sh", "uh") for o in ("add8", "add16", "sub8", "sub16", "asx", "sax")),
)  # fmt: skip

_SINGLE_LOADS = ("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh")
_SINGLE_STORES = ("str", "strb", "strh")


def _list(extra: int) -> Cost:
    """LDM, STM, PUSH: `extra` + N."""
    return lambda step: Cycles(extra + step.registers, extra + step.registers)


def _v6m(jump: int, call: int, pop: int, special: int) -> Mapping[str, Cost]:
    """Rows of an Armv6-M core, which differ in what leaves the straight line."""

    def one(step: Step) -> Cycles:
        cost = jump if step.destination == "pc" else 1
        return Cycles(cost, cost)

    def pop_row(step: Step) -> Cycles:
        cost = step.registers + (pop if "pc" in step.instruction.operands else 1)
        return Cycles(cost, cost)

    return {
        **dict.fromkeys(_ONE_V6M, one),
        **dict.fromkeys((*_SINGLE_LOADS, *_SINGLE_STORES), fixed(2)),
        **dict.fromkeys(("ldm", "ldmia", "stm", "stmia", "push"), _list(1)),
        "pop": pop_row,
        "bcc": lambda step: Cycles(jump, jump) if step.jumps else Cycles(1, 1),
        **dict.fromkeys(("b", "bx", "blx"), fixed(jump)),
        "bl": fixed(call),
        **dict.fromkeys(("mrs", "msr", "dmb", "dsb", "isb"), fixed(special)),
    }


def _refill(cycles: int) -> Cost:
    """`cycles` + P; in an IT block, one where the condition did not hold."""
    return lambda step: Cycles(cycles + 1, cycles + 3) if step.jumps else Cycles(1, 1)


def _to_pc(cycles: int) -> Cost:
    """`cycles`, or `cycles` + P where the result goes to the program counter."""
    return lambda step: Cycles(cycles + 1, cycles + 3) if step.destination == "pc" else Cycles(cycles, cycles)


def _list_to_pc(step: Step) -> Cycles:
    """LDM and POP: 1 + N, and P more where the program counter is in the list."""
    base = Cycles(1 + step.registers, 1 + step.registers)
    return base + Cycles(1, 3) if "pc" in step.instruction.operands else base


def _load(step: Step) -> Cycles:
    """Two cycles, one for a load right behind a load whose result is not part of the address.

    One more may be lost where the address comes from the instruction before (it has no forwarding path), and where the
    word comes from beside the code.
    """
    low = 1 if _follows_load(step) else 2
    late = _address_is_new(step) or "pc" in step.address_registers
    cost = Cycles(low, low + 1 if late else low)
    return cost + Cycles(1, 3) if step.destination == "pc" else cost


def _store(step: Step) -> Cycles:
    """One cycle; two with an offset in a register, unless right behind a load."""
    low = 2 if step.indexed and not _follows_load(step) else 1
    return Cycles(low, low + 1 if _address_is_new(step) else low)


def _follows_load(step: Step) -> bool:
    before = step.before
    return (
        before is not None
        and before.base in _SINGLE_LOADS
        and before.destination != "pc"
        and before.destination not in step.address_registers
    )


def _address_is_new(step: Step) -> bool:
    before = step.before
    return before is not None and before.base in _ONE_V7M and before.destination in step.address_registers


def _v7m() -> dict[str, Cost]:
    """Rows that the tables of the Cortex-M3 and the Cortex-M4 have in common."""
    return {
        **dict.fromkeys(_ONE_V7M, _to_pc(1)),
        **dict.fromkeys(("sdiv", "udiv"), fixed(2, 12)),
        **dict.fromkeys(_SINGLE_LOADS, _load),
        **dict.fromkeys(_SINGLE_STORES, _store),
        **dict.fromkeys(("ldrex", "strex"), fixed(2)),
        **dict.fromkeys(("ldrd", "strd"), _list(1)),
        **dict.fromkeys(("stm", "stmia", "stmdb", "push"), _list(1)),
        **dict.fromkeys(("ldm", "ldmia", "ldmdb", "pop"), _list_to_pc),
        **dict.fromkeys(("bcc", "cbz", "cbnz"), lambda step: Cycles(2, 4) if step.jumps else Cycles(1, 1)),
        **dict.fromkeys(("b", "bl", "bx", "blx"), _refill(1)),
        **dict.fromkeys(("tbb", "tbh"), _refill(2)),
        "it": fixed(0, 1),  # may be folded into the instruction before it
        "mrs": fixed(1, 2),
        "msr": fixed(1, 2),
    }


# Table 7-1 of the Cortex-M4's manual: the floating-point unit.
_FPU: Mapping[str, Cost] = {
    **dict.fromkeys(("vabs", "vadd", "vcmp", "vcmpe", "vcvt", "vcvtr", "vmrs", "vmsr", "vmul", "vneg", "vnmul", "vsub"),
                    fixed(1)),
    **dict.fromkeys(("vdiv", "vsqrt"), fixed(14)),
    **dict.fromkeys(("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms"), fixed(3)),
    "vldr": lambda step: Cycles(3, 3) if step.destination.startswith("d") else Cycles(2, 2),
    "vstr": lambda step: Cycles(3, 3) if step.destination.startswith("d") else Cycles(2, 2),
    "vmov": fixed(1, 2),  # two where it goes from or to a core register
    **dict.fromkeys(("vldmia", "vstmia", "vldmdb", "vstmdb", "vpush", "vpop"),
                    lambda step: Cycles(1, 1) + Cycles(step.registers, step.registers).times(_words(step))),
}  # fmt: skip


def _words(step: Step) -> int:
    """Words of each register in the list: two in a double."""
    return 2 if "{d" in step.instruction.operands else 1


_PIPELINE = "a taken branch refills the pipeline in 1 to 3 cycles; loads and stores overlap as section 3.3.2 says"
_CONDITIONAL = "instructions in an IT block count as if their condition held"
_WAIT = "memory without wait states"
_MULTIPLIER = "MULS takes one cycle; cores built with the small multiplier take 32"

TIMINGS: Mapping[str, Timing] = {
    timing.name: timing
    for timing in (
        Timing(
            "cortex-m0",
            "Cortex-M0",
            "Cortex-M0 Technical Reference Manual, Arm DDI 0432C, section 3.3, Table 3-1",
            frozenset({"cortex-m0"}),
            _v6m(jump=3, call=4, pop=4, special=4),
            (_WAIT, _MULTIPLIER),
        ),
        Timing(
            "cortex-m0plus",
            "Cortex-M0+",
            "Cortex-M0+ Technical Reference Manual, Arm DDI 0484C, section 3.3, Table 3-1",
            frozenset({"cortex-m0"}),
            _v6m(jump=2, call=3, pop=3, special=3),
            (_WAIT, _MULTIPLIER),
        ),
        Timing(
            "cortex-m3",
            "Cortex-M3",
            "Cortex-M3 Technical Reference Manual, Arm DDI 0337I, sections 3.3.1 (Table 3-1) and 3.3.2",
            frozenset({"cortex-m3"}),
            {
                **_v7m(),
                **dict.fromkeys(("mla", "mls"), fixed(2)),
                **dict.fromkeys(("smull", "umull"), fixed(3, 5)),  # early termination by the size of the operands
                **dict.fromkeys(("smlal", "umlal"), fixed(4, 7)),
            },
            (_WAIT, _PIPELINE, _CONDITIONAL),
        ),
        Timing(
            "cortex-m4",
            "Cortex-M4",
            "Cortex-M4 Technical Reference Manual, Arm 100166, sections 3.3.1 (Table 3-1), 3.3.2 and Table 7-1",
            frozenset({"cortex-m4"}),
            {**_v7m(), **dict.fromkeys(_ONE_M4, fixed(1)), **_FPU},
            (_WAIT, _PIPELINE, _CONDITIONAL),
        ),
    )
}


def timing_for(board: Board, name: str | None = None) -> Timing | None:
    """The table for code of `board`, or the one called `name`; None: none is published for its core.

    BadInput: there is no table of that name, or it is one of a core that runs other code.
    """
    if name is None:
        return TIMINGS.get(board.cpu.core)
    timing = TIMINGS.get(name)
    if timing is None:
        raise BadInput(f"there is no timing table {name!r}", hint=f"There are: {', '.join(TIMINGS)}.")
    if board.cpu.core not in timing.cores:
        fitting = [other.name for other in TIMINGS.values() if board.cpu.core in other.cores]
        raise BadInput(
            f"the timing table of {timing.title} does not fit code for {board.cpu.core}",
            hint=f"Fitting: {', '.join(fitting)}." if fitting else f"No table is published for {board.cpu.core}.",
        )
    return timing
