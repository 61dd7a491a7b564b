"""Trials of the convex-optimisation network: ``trials(backend, case, ...) -> (inputs, outputs)``, in the names of
spikeops.functional.convex_snn_trial."""

from __future__ import annotations

import dataclasses

import numpy as np

from host_cuda.arrays import place, poisoned

NEURONS = {"dt": 0.01, "leak": 2.0, "spike_cost": 0.05, "sigma_v": 0.3}
NUMBERS = NEURONS | {"feedforward_rate": 0.02, "threshold_rate": 0.03, "threshold_drift": 0.5, "buffer_steps": 1}
NUMBERS |= {"forgetting": 0.1}
COMMAND = {"change": 1.0, "hold": NEURONS["leak"]}  # "track"
SEED = 0x1234_5678_9ABC_DEF0


@dataclasses.dataclass(frozen=True)
class Trials:
    dtype: str
    steps: int
    trials: int
    neurons: int
    inputs: int = 2
    readouts: int = 3


def draw_inputs(case: Trials, noise="none", learns=False, decodes=False) -> dict[str, np.ndarray]:
    """Multiples of 1/8 at zero thresholds for some neurons, so that excesses tie; some inputs are 0, some constant."""
    draw = np.random.default_rng([case.steps, case.trials, case.neurons, case.inputs])
    x = draw.integers(-8, 9, (case.steps + 1, case.trials, case.inputs)) / 8
    x[2:] = x[1]  # a step, then constant
    encoder = draw.integers(1, 9, (case.neurons, case.readouts)) / 8
    decoder = 0.1 * encoder.T
    inputs = {
        "x": x,
        "feedforward": draw.integers(-8, 9, (case.neurons, case.inputs)) / 8,
        "recurrent": -encoder @ decoder,
        "thresholds": draw.integers(0, 4, case.neurons) / 8,
    }
    if decodes:
        inputs["decoder"] = decoder
    if noise == "given":
        inputs["noise"] = draw.standard_normal((case.steps, case.trials, case.neurons))
    if learns:
        inputs |= {"targets": draw.uniform(0, 1, (case.trials, case.readouts)), "encoder": encoder}
    return {name: place(array.astype(case.dtype), misaligned=False) for name, array in inputs.items()}


def trials(backend, case: Trials, noise="none", learns=False, decodes=False):
    inputs = draw_inputs(case, noise, learns, decodes)
    numbers = NUMBERS if noise != "none" else NUMBERS | {"sigma_v": 0.0}
    readouts = case.readouts if decodes else case.neurons
    outputs = {
        "spikes": poisoned((case.steps, case.trials), np.int32),
        "readout": poisoned((case.steps + 1, case.trials, readouts), case.dtype),
    }
    # What the binding does before a kernel runs: transposed copies, and outputs that begin as the inputs.
    arrays = inputs | outputs | {name: _transposed(inputs[name]) for name in ("feedforward", "recurrent")}
    arrays |= {"thresholds": inputs["thresholds"].copy()}
    if decodes:
        arrays["decoder"] = _transposed(inputs["decoder"])
    if noise == "drawn":
        arrays["seed"] = np.array([SEED], np.int64)
    if learns:
        arrays["feedforward_rows"] = inputs["feedforward"].copy()
    backend.convex_trials(case.dtype, arrays, numbers | COMMAND)
    if learns:
        outputs |= {"feedforward": arrays["feedforward_rows"], "thresholds": arrays["thresholds"]}
        assert np.array_equal(arrays["feedforward"].T, arrays["feedforward_rows"], equal_nan=True), "the two copies of the weights differ"
    return inputs, outputs


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix.T)
