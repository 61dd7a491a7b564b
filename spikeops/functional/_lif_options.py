"""Names of the LIF options and their numbers in the op schemas (kernels/math/lif.h)."""

RESETS = {"subtract": 0, "to": 1, "none": 2}
WEIGHTINGS = {"mean": 0, "decay": 1}
