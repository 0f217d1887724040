"""Bytes of flash and RAM, by layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.compiler.csource import CSource, Layer
from harness.firmware import MAP, Firmware
from harness.toolchain.link_map import placed

_CODE, _CONSTANTS = (".text", ".text."), (".rodata", ".rodata.", ".data", ".data.")


@dataclass(frozen=True)
class Footprint:
    """Of one layer, in bytes. Code that layers share (`nn_kernels.c`, the C library) belongs to none of them."""

    flash_code: int
    flash_constants: int  # weights, biases and tables
    arena: int  # of the tensors it reads and writes, each byte once
    stack: int | None  # deepest chain of calls; None: it has no bound

    @property
    def flash(self) -> int:
        return self.flash_code + self.flash_constants


def footprints(firmware: Firmware) -> tuple[Footprint, ...]:
    """One for each layer. Of a layer of the board `host` nothing is known but the arena."""
    source = firmware.source
    code = dict.fromkeys(range(len(source.layers)), 0)
    constants = dict.fromkeys(code, 0)
    files = {str(PurePosixPath("objects", layer.file).with_suffix(".o")): layer.index for layer in source.layers}
    if firmware.board.cpu.core != "host":
        for piece in placed(firmware.build_dir / MAP):
            index = files.get(piece.file, _of_weights(piece.section, piece.file, source))
            if index is None:
                continue
            if _is(piece.section, _CODE):
                code[index] += piece.bytes
            elif _is(piece.section, _CONSTANTS):
                constants[index] += piece.bytes
    return tuple(
        Footprint(
            code[layer.index], constants[layer.index], arena_bytes(source, layer),
            firmware.layer_stack_bytes[layer.index],
        )
        for layer in source.layers
    )  # fmt: skip


@dataclass(frozen=True)
class ModelCode:
    """Code that an application links for the model, in bytes: without constants, RPC server and fault entry."""

    own: int  # of the generated files, shared kernels included; not of the table that runs layers one at a time
    library: int  # of the C library and libgcc, of which the firmware stub calls some, too


def model_code(firmware: Firmware) -> ModelCode:
    """Of the board `host` nothing is known: 0."""
    if firmware.board.cpu.core == "host":
        return ModelCode(0, 0)
    generated = {
        str(PurePosixPath("objects", name).with_suffix(".o"))
        for name in firmware.source.files
        if name.endswith(".c") and name != "model_layers.c"
    }
    own = library = 0
    for piece in placed(firmware.build_dir / MAP):
        if _is(piece.section, _CODE):
            own += piece.bytes if piece.file in generated else 0
            library += piece.bytes if ".a(" in piece.file else 0
    return ModelCode(own, library)


def arena_bytes(source: CSource, layer: Layer) -> int:
    """Bytes of the arena that a layer's tensors take together; those that share a place count once."""
    taken = sorted(
        (place.offset, place.offset + place.bytes)
        for tensor, place in source.placements.items()
        if tensor in (*layer.inputs, *layer.outputs)
    )
    total = reached = 0
    for start, end in taken:
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _of_weights(section: str, file: str, source: CSource) -> int | None:
    """The layer of a constant in weights.c, whose name begins with the layer's: .rodata.conv2d_0_weights."""
    if PurePosixPath(file).name != "weights.o":
        return None
    name = section.rpartition(".")[2]
    return next((layer.index for layer in source.layers if name.startswith(f"{layer.name}_")), None)


def _is(section: str, kind: tuple[str, ...]) -> bool:
    return section in kind or section.startswith(tuple(prefix for prefix in kind if prefix.endswith(".")))
