"""How libraries read the numbers of NIR's neurons.

NIR's neurons are differential equations; what a simulator makes of them in one time step is its own affair. Here a neuron is the numbers
of such a step, and a dialect says how a library gets from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

DialectName = Literal["nir", "snntorch", "norse", "spikingjelly", "sinabs"]

# The numbers of each node, beside the shape.
NEURONS = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "I": ("r",),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
}
SPIKING = ("LIF", "IF", "CubaLIF")
LAYERS = ("Affine", "Linear", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "Scale")


@dataclass
class Neuron:
    """The numbers of one time step, float64 arrays of the neurons' shape or what broadcasts to it::

        i = current_decay * i + input_scale * x                    (nodes with a synapse; else i = input_scale * x)
        v = v_rest + decay * (v - v_rest) + current_scale * i
        spike at the threshold, or only above it, and back to v_reset or down by the threshold, as the dialect says
    """

    kind: str
    decay: np.ndarray
    input_scale: np.ndarray
    v_rest: np.ndarray
    current_decay: np.ndarray
    current_scale: np.ndarray
    threshold: np.ndarray
    v_reset: np.ndarray

    def numbers(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}


def _neuron(kind: str, **numbers: Any) -> Neuron:
    """A neuron; what is not given is what has no effect."""
    without = dict(decay=1.0, input_scale=1.0, v_rest=0.0, current_decay=0.0, current_scale=1.0, threshold=0.0, v_reset=0.0)
    return Neuron(kind, **{name: np.asarray(value, np.float64) for name, value in (without | numbers).items()})


@dataclass(frozen=True)
class Dialect:
    """How a library reads NIR's neurons.

    Attributes:
        strict: neurons fire above the threshold, not at it, as NIR has it.
        subtracts: a spike takes the threshold off the potential, several in one step several of them, in the place of a reset to v_reset.
        in_steps: time constants are in time steps, decays exp(-1 / tau), and the input of a step is added as it is.
        reads_r: r counts in LIF and LI. if_in_seconds: an IF's input is r * dt * x, not x. if_bounded: its potential is at least -threshold.
        zero, one, uniform: numbers that must be 0, 1 or the same for all neurons, since the library has no other or starts otherwise.
        nodes: what the library reads at all.
        dt: the only time step that the library has, in seconds; None for any.
        affine_only: a linear layer without a bias is to be written with a bias of 0.
        recurrent_bias: the bias of recurrent weights counts from the first step on, not from the second.
        vectors: nodes that it takes for layers (N,) alone, not for maps.
    """

    strict: bool = True
    subtracts: bool = False
    in_steps: bool = False
    reads_r: bool = True
    if_in_seconds: bool = True
    if_bounded: bool = False
    zero: tuple[str, ...] = ()
    one: tuple[str, ...] = ()
    uniform: tuple[str, ...] = ()
    nodes: tuple[str, ...] = (*NEURONS, *LAYERS)
    dt: float | None = None
    affine_only: bool = False
    recurrent_bias: bool = False
    vectors: tuple[str, ...] = ()

    def read(self, kind: str, given: dict[str, np.ndarray], dt: float) -> Neuron:
        """The numbers of a time step of dt seconds, from those of a node."""
        if kind in ("IF", "I"):
            scale = given["r"] * dt if self.if_in_seconds else np.ones_like(given["r"])
            fired = {"threshold": given["v_threshold"], "v_reset": given["v_reset"]} if kind == "IF" else {}
            return _neuron(kind, input_scale=scale, **fired)
        fired = {"threshold": given["v_threshold"], "v_reset": given["v_reset"]} if kind in SPIKING else {}
        tau = given["tau_mem"] if kind.startswith("Cuba") else given["tau"]
        if self.in_steps:
            # In float32, as sinabs.
            decay = np.exp(np.float32(-1) / tau.astype(np.float32))
            return _neuron(kind, decay=decay, v_rest=given["v_leak"], **fired)
        step, r = dt / tau, given["r"] if self.reads_r or kind.startswith("Cuba") else np.ones_like(given["r"])
        if not kind.startswith("Cuba"):
            return _neuron(kind, decay=1 - step, input_scale=r * step, v_rest=given["v_leak"], **fired)
        step_syn = dt / given["tau_syn"]
        return _neuron(
            kind, decay=1 - step, current_scale=r * step, current_decay=1 - step_syn, input_scale=given["w_in"] * step_syn,
            v_rest=given["v_leak"], **fired,
        )  # fmt: skip

    def write(self, neuron: Neuron, dt: float) -> dict[str, np.ndarray]:
        """The numbers of a node that `read` takes for the neuron; not finite where there are none."""
        n, kind = neuron, neuron.kind
        given = {"v_threshold": n.threshold, "v_reset": n.v_reset} if kind in SPIKING else {}
        if kind in ("IF", "I"):
            return {"r": n.input_scale / dt if self.if_in_seconds else np.ones_like(n.input_scale)} | given
        given |= {"v_leak": n.v_rest}
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.in_steps:
                return {"tau": -1 / np.log(n.decay), "r": np.ones_like(n.decay)} | given
            step = 1 - n.decay
            if not kind.startswith("Cuba"):
                return {"tau": dt / step, "r": n.input_scale / step if self.reads_r else np.ones_like(step)} | given
            step_syn = 1 - n.current_decay
            return {
                "tau_mem": dt / step, "tau_syn": dt / step_syn, "r": n.current_scale / step, "w_in": n.input_scale / step_syn,
            } | given  # fmt: skip

    def problems(self, neuron: Neuron) -> list[str]:
        """What of a neuron the library has not."""
        of_kind, found = neuron.numbers(), []
        for names, wanted in ((self.zero, 0.0), (self.one, 1.0)):
            for name in names:
                if not np.allclose(of_kind[name], wanted, rtol=1e-6, atol=1e-12):
                    found.append(f"{name} must be {wanted:g}, and is {shown(of_kind[name])}")
        for name in self.uniform:
            if not is_uniform(of_kind[name]):
                found.append(f"{name} must be the same for all neurons, and is {shown(of_kind[name])}")
        return found


def is_uniform(value: np.ndarray) -> bool:
    """Whether neurons have the same number, but for what float64 loses on the way through a time constant and back."""
    return bool(np.ptp(value) <= 4 * np.finfo(np.float64).eps * np.abs(value).max())


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(to)))


def shown(value: np.ndarray) -> str:
    return f"{value.flat[0]:g}" if is_uniform(value) else f"from {value.min():g} to {value.max():g}"


_LINEAR = ("Affine", "Linear", "Conv2d", "Flatten")
DIALECTS: dict[DialectName, Dialect] = {
    "nir": Dialect(recurrent_bias=True),
    "snntorch": Dialect(
        zero=("v_rest", "v_reset"), uniform=("threshold", "input_scale", "current_scale"), dt=1e-4,
        nodes=(*_LINEAR, "AvgPool2d", "SumPool2d", "LIF", "CubaLIF"),
    ),
    "norse": Dialect(
        reads_r=False, if_in_seconds=False, zero=("v_rest", "v_reset"), nodes=(*_LINEAR, "SumPool2d", "LIF", "IF", "CubaLIF"),
    ),
    "spikingjelly": Dialect(
        strict=False, zero=("v_rest", "v_reset"), uniform=("decay", "threshold", "input_scale", "current_scale"),
        nodes=(*_LINEAR, "Conv1d", "AvgPool2d", "SumPool2d", "LIF", "IF", "CubaLIF"),
    ),
    "sinabs": Dialect(
        strict=False, subtracts=True, in_steps=True, reads_r=False, if_in_seconds=False, if_bounded=True, affine_only=True,
        vectors=("LIF", "LI"), zero=("v_rest", "v_reset"), nodes=("Affine", "Linear", "Conv2d", "Flatten", "SumPool2d", "LIF", "IF", "LI"),
    ),
}  # fmt: skip


def dialect_named(op: str, name: str) -> Dialect:
    if not isinstance(name, str) or name not in DIALECTS:
        raise ValueError(f"{op}: expected dialect to be one of {', '.join(map(repr, DIALECTS))}, got {name!r}.")
    return DIALECTS[name]
