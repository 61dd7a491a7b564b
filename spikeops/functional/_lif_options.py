"""The options of LIF neurons: by name, as one object, and by their numbers in the op schemas (kernels/math/lif.h)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from spikeops.surrogate import ATan, Surrogate

Reset = Literal["subtract", "to", "none"]
Weighting = Literal["mean", "decay"]

RESETS = {"subtract": 0, "to": 1, "none": 2}
WEIGHTINGS = {"mean": 0, "decay": 1}


class LIFOptions(NamedTuple):
    """What the functions and modules with LIF neurons take by keyword and hand on as one: see :func:`spikeops.functional.lif`.

    Their signatures spell it out, for editors, type checkers and documentation, with the same names, order and defaults."""

    input_scale: float = 1.0
    reset: Reset = "subtract"
    reset_amount: float | None = None
    v_reset: float = 0.0
    v_rest: float = 0.0
    strict: bool = False
    detach_reset: bool = False
    surrogate: Surrogate = ATan(2.0)
