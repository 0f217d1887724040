"""Builds and runs the C of a whole model on this machine, under the sanitizers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.compiler.csource import CSource
from tests.native import STRICT

# The arena has exactly the size the model asks for, so that the address sanitizer sees what leaves it, and holds no
# zeros: what a layer does not write shows.
_MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"
#include "model_layers.h"

int main(void)
{
    uint8_t *memory = malloc(MODEL_ARENA_BYTES + MODEL_ARENA_ALIGN);
    if (memory == NULL) {
        return 1;
    }
    uint8_t *arena = memory + (MODEL_ARENA_ALIGN - (uintptr_t)memory % MODEL_ARENA_ALIGN) % MODEL_ARENA_ALIGN;
    memset(memory, 0xA5, MODEL_ARENA_BYTES + MODEL_ARENA_ALIGN);
    for (int whole = 0; whole < 2; whole++) {
        READ
        if (whole != 0) {
            model_run(arena);
        } else {
            for (int i = 0; i < MODEL_LAYER_COUNT; i++) {
                model_layers[i].run(arena);
            }
        }
        WRITE
    }
    free(memory);
    return 0;
}
"""


def write_files(source: CSource, folder: Path) -> list[str]:
    """The files of `source` in `folder`; the paths of those to compile."""
    for name, text in source.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [str(folder / name) for name in source.files if name.endswith(".c")]


def run_whole(source: CSource, inputs: Sequence[np.ndarray], folder: Path) -> list[bytes]:
    """The bytes of every output, in order; the same by model_run() as layer by layer."""
    files = write_files(source, folder)
    main, program = folder / "main.c", folder / "run"
    read = "\n".join(
        f"if (fread(arena + MODEL_INPUT_{i}_OFFSET, MODEL_INPUT_{i}_BYTES, 1, stdin) != 1) return 1;"
        for i in range(len(inputs))
    )
    outputs = source.graph.outputs
    write = "\n".join(
        f"fwrite(arena + MODEL_OUTPUT_{i}_OFFSET, 1, MODEL_OUTPUT_{i}_BYTES, stdout);" for i in range(len(outputs))
    )
    main.write_text(_MAIN.replace("READ", read).replace("WRITE", write))
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", *STRICT, *sanitize, "-I", str(folder), *files, str(main), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    given = b"".join(array.tobytes() for array in inputs)
    done = subprocess.run([str(program)], input=given * 2, capture_output=True, check=True, timeout=60).stdout
    layered, whole = done[: len(done) // 2], done[len(done) // 2 :]
    assert layered == whole
    values = []
    for tensor in outputs:
        size = source.placements[tensor].bytes
        values.append(whole[:size])
        whole = whole[size:]
    return values
