"""Runs printed C on this machine: the differential partner of the interpreter."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from harness.compiler.emit import _nn_math_h, _weights_c, _weights_h
from harness.compiler.loops import Program
from harness.compiler.render_c import intrinsics_of, render_function
from harness.compiler.scratch import scratch_of

STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-ffp-contract=off"]


def run_native(program: Program, inputs: dict[str, np.ndarray], folder: Path, *flags: str) -> dict[str, np.ndarray]:
    """Compiles `program` with the host's gcc under the sanitizer of undefined behaviour and calls it once."""
    (folder / "nn_math.h").write_text(_nn_math_h(intrinsics_of(program)))
    (folder / "weights.h").write_text(_weights_h([program]))
    (folder / "weights.c").write_text(_weights_c([program]))
    text = '#include <stdbool.h>\n#include <stdint.h>\n#include "nn_math.h"\n#include "weights.h"\n'
    (folder / "layer.c").write_text(text + render_function(program))
    library = folder / f"{program.name}.so"
    checks = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    sources = [str(folder / "layer.c"), str(folder / "weights.c")]
    subprocess.run(["gcc", *STRICT, *flags, *checks, "-shared", "-fPIC", *sources, "-o", str(library)], check=True)
    function = getattr(ctypes.CDLL(str(library)), program.name)
    ins = [np.ascontiguousarray(inputs[b.name]) for b in program.of_space("input")]
    outs = {b.name: np.zeros(b.shape, b.dtype.np) for b in program.of_space("output")}
    scratch = [np.full(b.shape, 0x55, b.dtype.np) for b in scratch_of(program)]
    function(*[ctypes.c_void_p(a.ctypes.data) for a in (*ins, *outs.values(), *scratch)])
    return outs
