"""Kernels in core registers: Thumb-2, with or without the DSP extension.

for (k …) {                                  ldmia sums, {r4-r11}
    const uint32_t x = load(&patch[…]);      1:
    const uint32_t w = load(&weights[…]);        ldr t0, [patch], #4
    sums[0] = nn_smlad(x, w, sums[0]);           ldr t1, [weights], #4
}                                                smlad r4, t0, t1, r4
                                                 cmp patch, end
                                                 bne 1b
                                                 stmia sums, {r4-r11}
"""

from __future__ import annotations

from harness.compiler.loops import Load
from harness.compiler.render_asm.base import Fetch, Item, Kernel, Pointer
from harness.dtypes import DType

REGISTERS = 14  # r0 … r12 and lr
FIRST_SUM = 4  # sums lie in r4 and on
_LOADS = {DType.I8: "ldrsb", DType.U8: "ldrb", DType.I16: "ldrsh", DType.I32: "ldr", DType.U32: "ldr"}


class CoreKernel(Kernel):
    guard = "defined(__thumb2__)"
    most_pointers = 2  # with the sums and the end, as many arguments as come in registers
    reach = 255

    @property
    def room(self) -> int:
        return REGISTERS - self.sums.elements - len(self.pointers) - len(self.temporaries)

    @property
    def scratch(self) -> list[str]:
        return [name.strip("<>") for name in self.temporaries]

    def sum_register(self, number: int) -> str:
        return f"r{FIRST_SUM + number}"

    def several(self, registers: list[str]) -> str:
        return f"{registers[0]}-{registers[-1]}"

    def temporary(self, number: int) -> str:
        return f"<t{number}>"

    def fetch(self, name: str, node: Load, pointer: Pointer, offset: int) -> Fetch:
        lanes = node.lanes
        if lanes is not None and lanes.bytes != 4:
            raise self.refuse("a vector that no core register holds", node)
        mnemonic = "ldr" if lanes is not None else _LOADS[node.buffer.element]
        return Fetch((name,), mnemonic, pointer, offset)

    def grouped(self, items: list[Item]) -> list[Item]:
        """Two loads of neighbouring words in a row become one LDRD, which wants an aligned address."""
        result: list[Item] = []
        for item in items:
            before = result[-1] if result else None
            if (
                isinstance(item, Fetch)
                and isinstance(before, Fetch)
                and item.pointer is before.pointer
                and (item.mnemonic, before.mnemonic) == ("ldr", "ldr")
                and item.offset == before.offset + 4
                and item.pointer.aligned
                and before.offset % 4 == 0
            ):
                result[-1] = Fetch((*before.names, *item.names), "ldrd", item.pointer, before.offset)
            else:
                result.append(item)
        return result

    def load(self, item: Fetch) -> str:
        p, offset = item.pointer, item.offset
        target = p.ahead.pop(0)
        registers = ", ".join(self.values[name] for name in item.names)
        pair = item.mnemonic == "ldrd"
        reach = 1020 if pair else 255
        if p.stream and offset == p.at:
            p.at = target
            return f"{item.mnemonic} {registers}, [<{p.name}>], #{target - offset}"
        distance = offset - p.at
        if not -reach <= distance <= (1020 if pair else 4095) or (pair and distance % 4):
            raise self.refuse("an access too far from the pointer", item.names[0])
        return f"{item.mnemonic} {registers}, [<{p.name}>" + (f", #{distance}]" if distance else "]")
