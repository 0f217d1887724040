"""Kernels in vector registers: MVE. Sums lie in the even core registers, where VMLADAVA adds to; the odd ones point.

    for (k …) {                                          ldmia sums, {r0, r2, …}
        const int8x16_t x = load(&patch[…]);             1:
        const int8x16_t w = load(&weights[…]);               vldrb.s8 q0, [patch], #16
        sums[0] = nn_mladava(x, w, sums[0]);                 vldrb.s8 q1, [weights], #16
    }                                                        vmladava.s8 r0, q0, q1
                                                             cmp patch, end
                                                             bne 1b
                                                         stmia sums, {r0, r2, …}

Lanes left out of a load are the same in all of them: one predicate is made in front of the loop.
"""

from __future__ import annotations

from harness.compiler.accesses import access_of
from harness.compiler.loops import Const, Expr, Load
from harness.compiler.render_asm.base import Fetch, Kernel, Pointer

_SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
_POINTERS = 6  # r1, r3 … r11
_VECTORS = 8
_BLOCK = 4  # instructions that one VPST makes conditional


class VectorKernel(Kernel):
    guard = "defined(__ARM_FEATURE_MVE)"
    most_pointers = _POINTERS - 2  # the address of the sums and the end are there as well
    reach = 127

    @property
    def room(self) -> int:
        return _POINTERS - 1 - len(self.pointers) if len(self.temporaries) <= _VECTORS else -1

    @property
    def scratch(self) -> list[str]:
        return ["t0"]

    @property
    def vectors(self) -> list[str]:
        return self.temporaries

    def sum_register(self, number: int) -> str:
        return _SUMS[number]

    def temporary(self, number: int) -> str:
        return f"q{number}"

    def key(self, node: Load, advance: int, terms: frozenset[tuple[Expr, int]]) -> object:
        """Every row has a pointer of its own: a load reaches no further than half of a long one."""
        return (node.buffer, advance, terms, node.index[:-1])

    def fetch(self, name: str, node: Load, pointer: Pointer, offset: int) -> Fetch:
        lanes = node.lanes
        if lanes is None or lanes.bytes != 16:
            raise self.refuse("a value that no vector register holds", node)
        how = access_of(node)
        if how is None or not how.asm or (node.active is not None and not isinstance(node.active, Const)):
            raise self.refuse("a load without an instruction", node)
        if isinstance(node.active, Const):
            if self.active not in (None, (int(node.active.value), lanes.lanes)):
                raise self.refuse("a second number of lanes", node)
            self.active = (int(node.active.value), lanes.lanes)
        return Fetch((name,), how.asm, pointer, offset, predicated=node.active is not None)

    active: tuple[int, int] | None = None  # lanes that take part in predicated loads, of how many

    def prepared(self) -> list[str]:
        if self.active is None:
            return []
        count, lanes = self.active
        return [f"mov <t0>, #{count}", f"vctp.{128 // lanes} <t0>"]

    def load(self, item: Fetch) -> str:
        p, offset = item.pointer, item.offset
        target = p.ahead.pop(0)
        distance = offset - p.at
        if p.stream and not distance:
            p.at = target
            place = f"[<{p.name}>], #{target - offset}"
        elif abs(distance) <= self.reach:
            place = f"[<{p.name}>, #{distance}]" if distance else f"[<{p.name}>]"
        else:
            raise self.refuse("an access too far from the pointer", item.names[0])
        return item.mnemonic.format(d=self.values[item.names[0]], m=place)

    def printed(self) -> list[str]:
        """Loads under the predicate in blocks, each behind a VPST that says how many there are."""
        result: list[str] = []
        room = 0  # in the block that is open
        for item, line in zip(self.items, super().printed(), strict=True):
            if not isinstance(item, Fetch) or not item.predicated:
                room = 0
            elif room:
                opened = max(i for i, text in enumerate(result) if text.startswith("vpst"))
                result[opened] += "t"
                room -= 1
            else:
                result.append("vpst")
                room = _BLOCK - 1
            result.append(line)
        return result
