"""The program that runs one reference interpreter: `python -m harness.oracle.worker KIND MODEL <QUESTION >ANSWER`.

QUESTION is an .npz file of input_0 …, each (samples, *shape), and request, a JSON text {"tensors": [id, …],
"cpu_seconds": n, "parent": process id}. ANSWER becomes an .npz file of tensor_<id>, each (samples, *shape), or, when
the status is not 0, a JSON text {"missing": bool, "message": …}. It is a process of its own because an interpreter may
segfault, spin or ask for all memory on a bad model.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.errors import HarnessError

_MEMORY_BYTES = 8 << 30  # address space: far above what any microcontroller model needs, far below the machine's
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
Samples = list[np.ndarray]  # one array per model input, each (samples, *shape)
Answers = dict[int, np.ndarray]  # by tensor id, each (samples, *shape)


def run_tflite(interpreter_module: str, model: Path, inputs: Samples, tensors: Sequence[int]) -> Answers:
    """TFLite's reference kernels, from tflite_runtime or ai_edge_litert (one interface in both)."""
    import importlib

    tflite: Any = importlib.import_module(interpreter_module)
    interpreter = tflite.Interpreter(
        model_path=str(model),
        experimental_op_resolver_type=tflite.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    slots = [d["index"] for d in interpreter.get_input_details()]
    answers: dict[int, Samples] = {t: [] for t in tensors}
    for sample in range(inputs[0].shape[0] if inputs else 1):
        for slot, values in zip(slots, inputs, strict=True):
            interpreter.set_tensor(slot, values[sample])
        interpreter.invoke()
        for tensor, collected in answers.items():
            collected.append(interpreter.get_tensor(tensor))
    return {t: np.stack(collected) for t, collected in answers.items()}


def run_numpy(model: Path, inputs: Samples, tensors: Sequence[int]) -> Answers:
    """The project's own exact references."""
    from harness.compiler.frontends import load_model
    from harness.compiler.ops import run_reference

    graph = load_model(model)
    answers: dict[int, Samples] = {t: [] for t in tensors}
    for sample in range(inputs[0].shape[0] if inputs else 1):
        found = run_reference(graph, [values[sample] for values in inputs])
        for tensor, collected in answers.items():
            collected.append(found[tensor])
    return {t: np.stack(collected) for t, collected in answers.items()}


KINDS: dict[str, Callable[[Path, Samples, Sequence[int]], Answers]] = {
    "tflite-ref": lambda *request: run_tflite("tflite_runtime.interpreter", *request),
    "litert-ref": lambda *request: run_tflite("ai_edge_litert.interpreter", *request),
    "numpy": run_numpy,
}


def _limit(cpu_seconds: int) -> None:
    """Keep a runaway interpreter from taking the machine, also when the parent is no longer there to kill it."""
    try:
        import resource
    except ImportError:  # not a POSIX system: the parent's deadline is all there is
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(parent: int) -> None:
    """Be killed when the harness is, however that happens (Linux only; elsewhere the limit of CPU time has to do)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main(kind: str, model: str) -> int:
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # what an interpreter prints is no part of the answer
        with np.load(sys.stdin.buffer, allow_pickle=False) as file:
            request = json.loads(str(file["request"]))
            inputs = [file[f"input_{j}"] for j in range(len(file.files) - 1)]
        _end_with(request["parent"])
        _limit(request["cpu_seconds"])
        try:
            answers = KINDS[kind](Path(model), inputs, request["tensors"])
        except ImportError as error:
            return _refuse(answer, str(error), missing=error.name in ("tflite_runtime", "ai_edge_litert"))
        except (HarnessError, RuntimeError, ValueError, MemoryError) as error:
            return _refuse(answer, str(error) or type(error).__name__, missing=False)
        np.savez(answer, **{f"tensor_{t}": values for t, values in answers.items()})
    return 0


def _refuse(answer: IO[bytes], message: str, *, missing: bool) -> int:
    answer.write(json.dumps({"missing": missing, "message": message}).encode())
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
