"""An intrinsic: a C function beside its executable meaning, so that neither can drift from the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.dtypes import DType


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """`meaning` maps int64 (or float32) arrays to the result exactly; `c` defines `static inline` of the same name.

    `needs` names target features ("dsp", "mve") without which the intrinsic may not be used; an empty set means that
    the C text itself is right on every core.
    """

    name: str
    params: tuple[tuple[str, DType], ...]
    result: DType
    meaning: Callable[..., np.ndarray]
    c: str
    needs: frozenset[str] = frozenset()
    uses: tuple[Intrinsic, ...] = ()  # intrinsics its C text calls
    header: str = ""  # of the C library, such as "math.h"
