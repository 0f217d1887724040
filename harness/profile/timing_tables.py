"""The timing tables that Arm publishes. Rows are named after the assembler column of the manuals' tables.

P is the cost of refilling the pipeline, 1 to 3 cycles; N the registers of a list. The tables have more rows: what
waits for an event has no upper bound there (WFI, barriers), and user-mode loads are printed by no compiler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.board import Board
from harness.errors import BadInput
from harness.profile.timing import NONE, Cost, Cycles, Step, Timing, fixed

# One cycle in Table 3-1 of the Cortex-M0 and of the Cortex-M0+.
_ONE_V6M = (
    "mov", "add", "adc", "adr", "sub", "sbc", "rsb", "neg", "mul", "cmp", "cmn", "and", "eor", "orr", "bic", "mvn",
    "tst", "lsl", "lsr", "asr", "ror", "sxth", "sxtb", "uxth", "uxtb", "rev", "rev16", "revsh", "nop", "cpsid",
    "cpsie", "sev",
)  # fmt: skip
# One cycle in Table 3-1 of the Cortex-M3 and of the Cortex-M4.
_ONE_V7M = (
    *_ONE_V6M, "movw", "movt", "addw", "subw", "ssat", "usat", "orn", "teq", "rrx", "clz", "bfi", "bfc", "sbfx", "ubfx",
    "rbit",
)  # fmt: skip
# One cycle on the Cortex-M4: long multiplications in Table 3-1, and each row of Table 3-2, the DSP instructions.
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
_EXCLUSIVES = tuple(f"{name}{width}" for name in ("ldrex", "strex") for width in ("", "b", "h"))
_DIVISIONS = ("sdiv", "udiv")
_MAKES_ADDRESSES = {*_ONE_V7M, *_ONE_M4, *_DIVISIONS}.difference(("cmp", "cmn", "tst", "teq"))


def _list(extra: int) -> Cost:
    """LDM, STM, PUSH, LDRD, STRD: `extra` + N."""
    return lambda step: Cycles(extra + step.registers, extra + step.registers)


def _v6m(jump: int, call: int, pop: int, special: int) -> Mapping[str, Cost]:
    """Table 3-1 of the Cortex-M0 and of the Cortex-M0+, which differ in what leaves the straight line."""

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
    """Section 3.3.2: two cycles, one for a load right behind a load whose result is not part of the address.

    One more may be lost where the word comes from beside the code. To the program counter: five, which is the table's
    2 + P with the P of three that the section names.
    """
    if step.destination == "pc":
        return Cycles(5, 5)
    low = 1 if _follows_load(step) else 2
    return Cycles(low, low + 1 if "pc" in step.address_registers else low)


def _store(step: Step) -> Cycles:
    """Section 3.3.2: one cycle; two with an offset in a register, unless right behind a load.

    Without such an offset a new address may stall: "any load or store" does, but this one "is always one cycle".
    """
    if step.indexed:
        return _stalling(fixed(1 if _follows_load(step) else 2))(step)
    return Cycles(1, 2 if _address_is_new(step) else 1)


def _follows_load(step: Step) -> bool:
    before = step.before
    return (
        before is not None
        and before.base in (*_SINGLE_LOADS, *_EXCLUSIVES)
        and before.destination != "pc"
        and before.destination not in step.address_registers
    )


def _stalling(cost: Cost) -> Cost:
    """`cost`, and the cycle that section 3.3.2 adds to any load or store with an address of the instruction before."""
    return lambda step: cost(step) + (Cycles(1, 1) if _address_is_new(step) else NONE)


def _address_is_new(step: Step) -> bool:
    """Whether a data processing operation made it right before: for that there is no forwarding path."""
    before = step.before
    return before is not None and before.base in _MAKES_ADDRESSES and before.destination in step.address_registers


def _it(step: Step) -> Cycles:
    """One cycle, none where it is folded onto the 16-bit instruction before it."""
    return Cycles(1 if step.before is not None and step.before.instruction.size == 4 else 0, 1)


def _v7m() -> dict[str, Cost]:
    """What Table 3-1 and section 3.3.2 of the Cortex-M3 and of the Cortex-M4 have in common."""
    return {
        **dict.fromkeys(_ONE_V7M, _to_pc(1)),
        **dict.fromkeys(_DIVISIONS, fixed(2, 12)),
        **dict.fromkeys((*_SINGLE_LOADS, *_EXCLUSIVES), _stalling(_load)),
        **dict.fromkeys(_SINGLE_STORES, _store),
        "clrex": fixed(1),
        **dict.fromkeys(("ldrd", "strd", "stm", "stmia", "stmdb", "push"), _stalling(_list(1))),
        **dict.fromkeys(("ldm", "ldmia", "ldmdb", "pop"), _stalling(_list_to_pc)),
        **dict.fromkeys(("bcc", "cbz", "cbnz"), lambda step: Cycles(2, 4) if step.jumps else Cycles(1, 1)),
        **dict.fromkeys(("b", "bl", "bx", "blx"), _refill(1)),
        **dict.fromkeys(("tbb", "tbh"), fixed(6)),  # the table's 2 + P; 3.3.2 says one more for the addition, and P = 3
        "it": _it,
        **dict.fromkeys(("mrs", "msr", "cpsid", "cpsie"), fixed(1, 2)),
    }


_FLOAT_SUMS = ("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms")
_FLOAT_DIVISIONS = ("vdiv", "vsqrt")
_DIVISION = 14
_FLOAT_LATE = (*_FLOAT_SUMS, *_FLOAT_DIVISIONS, "vadd", "vsub", "vmul", "vnmul", "vcvt", "vcvtr")
_READS_ALL = ("vcmp", "vcmpe", "vstr")  # their first operand is no result


def _float(low: int, high: int | None = None) -> Cost:
    """So many cycles, and those that the note below Table 7-1 lets the instruction before take because of this one.

    Arithmetic takes one more when its result is needed here, but for the number to add to, which is needed a cycle
    later. A division right before that took one or all of its cycles took all of them.
    """

    def cost(step: Step) -> Cycles:
        own = Cycles(low, low if high is None else high)
        if step.before is None or step.before.base not in _FLOAT_LATE:
            return own
        operands = step.instruction.operands
        read = re.findall(r"\bs\d+\b", operands if step.base in _READS_ALL else operands.partition(",")[2])
        late = int(step.before.destination in read)
        busy = _DIVISION - 1 if step.before.base in _FLOAT_DIVISIONS else 0
        return own + Cycles(late + busy, late)

    return cost


def _memory(step: Step) -> Cycles:
    """VLDR, VSTR: two cycles, three for a double."""
    return _float(3 if step.destination.startswith("d") else 2)(step)


def _vmov(step: Step) -> Cycles:
    """Two cycles from or to a core register, where that is not about half of a double: one, as between others."""
    core = re.search(r"\b(r\d+|sl|fp|ip|lr)\b", step.instruction.operands)
    return _float(2 if core and "[" not in step.instruction.operands else 1)(step)


# Table 7-1 of the Cortex-M4: the floating-point unit. A division and a root take one cycle as long as no other
# instruction needs the unit, and as many as the table says otherwise.
_FPU: Mapping[str, Cost] = {
    **dict.fromkeys(("vabs", "vadd", "vcmp", "vcmpe", "vcvt", "vcvtr", "vmrs", "vmsr", "vmul", "vneg", "vnmul", "vsub"),
                    _float(1)),
    **dict.fromkeys(_FLOAT_DIVISIONS, _float(1, _DIVISION)),
    **dict.fromkeys(_FLOAT_SUMS, _float(3)),
    **dict.fromkeys(("vldr", "vstr"), _stalling(_memory)),
    "vmov": _vmov,
    **dict.fromkeys(("vldmia", "vstmia", "vldmdb", "vstmdb", "vpush", "vpop"),
                    _stalling(lambda step: Cycles(1, 1) + Cycles(step.registers, step.registers).times(_words(step)))),
}  # fmt: skip


def _words(step: Step) -> int:
    """Words of each register in the list: two in a double."""
    return 2 if "{d" in step.instruction.operands else 1


_PIPELINE = "a taken branch refills the pipeline in 1 to 3 cycles; loads and stores overlap as section 3.3.2 says"
_CONDITIONAL = "instructions in an IT block count as if their condition held"
_WAIT = "memory without wait states"
_ALIGNED = "addresses are aligned: a word or halfword across a boundary takes one or two cycles more"
_WIDE = "32-bit loads and stores overlap wherever they stand; on odd halfwords they may not (note b of Table 3-1)"
_TEQ = "TEQ takes one cycle as TST does: the table prints no number in its row"
_PORT = "loads and stores take two cycles; one behind the single-cycle I/O port, where no tensor is"
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
            (_WAIT, _MULTIPLIER, _PORT),
        ),
        Timing(
            "cortex-m3",
            "Cortex-M3",
            "Cortex-M3 Technical Reference Manual, Arm 100165 (before: DDI 0337), Table 3-1 and section 3.3.2",
            frozenset({"cortex-m3"}),
            {
                **_v7m(),
                **dict.fromkeys(("mla", "mls"), fixed(2)),
                **dict.fromkeys(("smull", "umull"), fixed(3, 5)),  # early termination by the size of the operands
                **dict.fromkeys(("smlal", "umlal"), fixed(4, 7)),
            },
            (_WAIT, _ALIGNED, _PIPELINE, _CONDITIONAL, _TEQ),
        ),
        Timing(
            "cortex-m4",
            "Cortex-M4",
            "Cortex-M4 Technical Reference Manual, Arm DDI 0439D, Tables 3-1, 3-2 and 7-1 and section 3.3.2",
            frozenset({"cortex-m4"}),
            {**_v7m(), **dict.fromkeys(_ONE_M4, fixed(1)), **_FPU},
            (_WAIT, _ALIGNED, _WIDE, _PIPELINE, _CONDITIONAL, _TEQ),
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
