"""Feedback spiking networks, trained by implicit differentiation (IDE) or by a spiking backward pass (SPIDE)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from spikeops._numbers import plain_number
from spikeops.functional import _checks, _transforms
from spikeops.functional._other_words import FEEDBACK, explain_other_words
from spikeops.nn._repr import call_arguments
from spikeops.nn.feedback import ide, spide
from spikeops.nn.feedback.cuda_graph import GraphCache
from spikeops.nn.feedback.forward_pass import ForwardPass
from spikeops.nn.feedback.operators import loop_order
from spikeops.nn.feedback.subnetworks import SubNetwork

METHODS = {"ide": ide.differentiable_rate, "spide": spide.differentiable_rate}
DEFAULT_THRESHOLD = {"ide": 2.0, "spide": 1.0}


class FeedbackRing(nn.Module):
    """A ring of spiking layers with feedback connections, trained through the equilibrium that its firing rates settle at.

    Layer 0 is driven by the input and, one time step later, by the last layer's spikes; each further layer by the one before
    in the same step. For ``t = 0 .. T-1``, all membrane potentials from 0::

        drive_0 = feedback(s_last[t-1]) + input_layer(x),  drive_l = layers[l-1](s_{l-1}[t])
        u_l = v_l + drive_l                                    membrane potential
        s_l = 1 if u_l >= threshold else 0
        v_l = leak * (u_l - reset_amount * s_l)
        a_l = sum_t leak^(T-1-t) s_l[t] / sum_t leak^t         firing rate; leak 1: the plain average

    The value of the module is the last layer's rate; the simulation itself is never differentiated. Put a classifier and a
    loss on top and use autograd as always: parameters get their gradients through one evaluation of the sub-networks at the
    simulated rates.

    ``method="ide"``: Xiao et al., "Training Feedback Spiking Neural Networks by Implicit Differentiation on the Equilibrium
    State", NeurIPS 2021 (arXiv:2109.14247). reset_amount = threshold; the rates satisfy a = f(a) with f the ring of
    ``clip(drive / threshold, 0, 1)``, and ``(I - J^T) v = dL/da`` is solved for v in the backward pass.
    ``method="spide"``: Xiao et al., "SPIDE: A purely spike-based method for training feedback spiking neural networks", Neural
    Networks 2023 (arXiv:2302.00232). reset_amount = threshold - u_rest; the backward pass simulates the layers in reverse order
    with ternary neurons, whose rates stand for the gradient.

    Reproduced from the published code, since the published accuracies were obtained with it:

    - IDE, constant input, training: a batch-norm of ``input_layer`` updates its running statistics twice per step. A
      batch-norm of ``layers`` simulates with its running statistics and updates them once, from f at the rates; J is taken in
      train mode, with the batch statistics at the point of linearisation, so it couples the samples of a batch.
    - IDE, spike input, training: the simulation's input batch-norm uses the statistics of the time-averaged input (variance
      unbiased, eps 1e-8). The time average is decay-weighted where neurons leak; SPIDE's is plain.
    - IDE, more than one layer: J is linearised at f(a), for a single layer at a. f knows no leak.
    - Dropout: one mask per sub-network and forward pass, on its output, the same at all time steps; in training only. SPIDE
      applies it between its backward neurons, but not to the parameters' gradients.
    - SPIDE: the gradient enters the last layer at every backward step without a mask; the mask m_l = (0 < a_l < 1) gates what
      backward neurons send on and the parameters' gradients. Its size is that of the loss: the published code multiplies the
      loss by a ``scale_factor`` and divides the learning rate by it.

    Mended, where the published code goes against its own papers:

    - The input is not overwritten (IDE with leak and spike input).
    - ``solver="fixed_point"`` converges to (I - J^T)^-1 dL/da, not to (2I - J^T)^-1 dL/da.
    - A leaky neuron that fires at every step has rate 1 and m = 0; in the published code that depends on rounding.
    - Gradients of linear layers are added to ``.grad``; the published SPIDE overwrites it.
    - Firing rates are averages over batch and neurons in every mode.

    On a GPU: rates are not those of the CPU by default, as PyTorch lets cuDNN round what a convolution multiplies to TF32 (10 bits
    of mantissa) on GPUs since Ampere, and a drive that is off by 1e-3 lets other neurons fire. ``torch.backends.cudnn.allow_tf32 =
    False`` (or ``torch.backends.cudnn.conv.fp32_precision = "ieee"``; products of linear layers use TF32 only if asked to) leaves
    what any other order of adding leaves: drives within rounding errors, and other spikes only at ties with the threshold.

    Args:
        layers: the sub-networks from each spiking layer to the next; empty for a ring of one layer. Each a chain of Conv2d,
            ConvTranspose2d, Linear, AvgPool2d, Flatten, batch-norm (IDE only), or Sequential of these. Other modules, those with
            hooks (but those of pruning and norms of weights), and all of them while there are hooks for all modules, are called as
            they are at every step, batch-norms inside as if outside: for IDE any differentiable one, for SPIDE affine ones.
        feedback: the sub-network from the last spiking layer back to the first one; None: no feedback.
        input_layer: the sub-network from the input to the first spiking layer.
        method: "ide" or "spide".
        time_steps: T, steps of the simulation.
        leak: factor on the membrane potential per step, in (0, 1]; 1 for integrate-and-fire neurons.
        threshold: firing threshold; by default 2 (IDE) or 1 (SPIDE).
        dropout: probability to drop an output of a sub-network; one number, or one per sub-network in the order
            ``[input_layer, *layers, feedback]`` (without the last if there is no feedback).
        input: "constant": x (B, ...), the same drive at every step. "spikes": x (T, B, ...), time first.
        solver: IDE: "broyden" (limited memory, no line search, best iterate kept) or "fixed_point" (damped).
        solver_steps: IDE: steps of the solver; 0 takes dL/da itself for the solution.
        on_solver_failure: IDE: if the residual stays above a tenth of dL/da: "warn" and use the best iterate, or "raise".
        u_rest: SPIDE: resting potential, ``-threshold`` by default.
        backward_time_steps: SPIDE: steps of the backward pass.
        backward_threshold: SPIDE: threshold of the ternary neurons, whose spikes have the size
            ``backward_threshold - backward_u_rest``.
        backward_u_rest: SPIDE: ``-backward_threshold`` by default.
        cuda_graph: replay the time loops, and the solver of the implicit gradient (IDE), as CUDA graphs. "auto": on a GPU, from the
            second pass with the same shapes, and plainly, with a warning, where that fails; True: from the first pass, and an error
            where it fails; False: never. Those with modules that are not known always run plainly. A ring has the graphs of at
            most 6 loops and solvers on a device, which share their memory: one per shape of batch, mode, direction and setting
            (backend, TF32, determinism) that it is captured under. The one that was not used for the longest time gives way to a
            new one, and runs plainly from then on. A solver has a graph for every 8 steps, after which the host looks whether to
            go on; the first 64 are replayed.

    Shapes:
        x (B, ...) or (T, B, ...) -> rate of the last layer (B, ...), float32 or float64 as x and the parameters.

    Attributes:
        last_forward_rates: (layers,) spikes per neuron and time step in the latest forward pass, averaged over the batch.
        last_backward_rates: (layers,) the same for the ternary neurons of SPIDE's latest backward pass.
        last_residual: IDE: residual norm of the latest implicit solution, relative to dL/da; 0.0 where none was needed.
        backward_passes: IDE: how many there were, by which warnings name them.

    Raises:
        ValueError: an option or shape that does not fit, or sub-networks whose shapes do not close the ring.
        TypeError: an input of a wrong type or dtype.
        RuntimeError: a failed solver with ``on_solver_failure="raise"``; a second derivative.
        NotImplementedError: a transform of `torch.func`, forward mode, or a trace.

    Example:
        >>> recurrent = snn.restrict_spectral_norm(torch.nn.Linear(16, 16, bias=False))
        >>> ring = snn.FeedbackRing([], recurrent, torch.nn.Linear(20, 16), method="ide", time_steps=5, leak=0.95)
        >>> ring(torch.rand(4, 20)).shape
        torch.Size([4, 16])
    """

    last_forward_rates: torch.Tensor | None
    last_backward_rates: torch.Tensor | None

    @explain_other_words(FEEDBACK)
    def __init__(self, layers: Iterable[nn.Module], feedback: nn.Module | None, input_layer: nn.Module, *,
                 method: Literal["ide", "spide"] = "ide", time_steps: int = 30, leak: float = 1.0, threshold: float | None = None,
                 dropout: float | Sequence[float] = 0.0, input: Literal["constant", "spikes"] = "constant",
                 solver: Literal["broyden", "fixed_point"] = "broyden", solver_steps: int = 30,
                 on_solver_failure: Literal["warn", "raise"] = "warn", u_rest: float | None = None,
                 backward_time_steps: int = 100, backward_threshold: float = 0.5, backward_u_rest: float | None = None,
                 cuda_graph: Literal["auto"] | bool = "auto"):  # fmt: skip
        super().__init__()
        _check_choice("method", method, tuple(METHODS))
        _check_choice("input", input, ("constant", "spikes"))
        _check_choice("solver", solver, tuple(ide.SOLVERS))
        _check_choice("on_solver_failure", on_solver_failure, ("warn", "raise"))
        _check_choice("cuda_graph", cuda_graph, ("auto", True, False))
        if not isinstance(feedback, nn.Module | None):
            raise TypeError(f"FeedbackRing: expected feedback to be a module or None, got {type(feedback).__name__}.")
        if not isinstance(input_layer, nn.Module):
            name = type(input_layer).__name__
            raise TypeError(f"FeedbackRing: expected input_layer to be a module, got {name}. nn.Identity() for none.")
        self.layers, self.feedback, self.input_layer = nn.ModuleList(layers), feedback, input_layer
        self.method, self.time_steps, self.leak, self.input = method, time_steps, leak, input
        self.solver, self.solver_steps, self.on_solver_failure = solver, solver_steps, on_solver_failure
        self.u_rest, self.backward_u_rest, self.backward_time_steps = u_rest, backward_u_rest, backward_time_steps
        self._check_numbers()
        self.threshold = _positive("threshold", DEFAULT_THRESHOLD[method] if threshold is None else threshold)
        self.reset_amount = self.threshold
        if method == "ide" and u_rest is not None:
            raise ValueError(f"FeedbackRing: expected no u_rest for method='ide', whose reset takes the threshold, got {u_rest}.")
        if method == "spide":
            rest = -self.threshold if u_rest is None else _number("u_rest", u_rest)
            self.reset_amount = _positive("threshold - u_rest", self.threshold - rest)
        self.backward_threshold = _positive("backward_threshold", backward_threshold)
        rest = -self.backward_threshold if backward_u_rest is None else _number("backward_u_rest", backward_u_rest)
        self.amplitude = _positive("backward_threshold - backward_u_rest", self.backward_threshold - rest)
        self.dropout = _dropout(dropout, len(self.layers) + 1 + (feedback is not None))
        self.last_forward_rates = self.last_backward_rates = None
        self.last_residual, self.backward_passes = 0.0, 0
        self._warnings: dict[str, int] = {}
        self.graphs = GraphCache(cuda_graph)
        self.known_shapes: dict[tuple, list[torch.Size]] = {}
        for network in self.networks():  # says now what is not supported
            if method == "spide" and network.has_batch_norm:
                raise ValueError(
                    f"FeedbackRing: expected affine sub-networks for method='spide', got a batch-norm in {network.name}."
                )

    def networks(self) -> list[SubNetwork]:
        """``[input_layer, *layers, feedback]``, taken apart."""
        networks = [SubNetwork("input_layer", self.input_layer)]
        networks += [SubNetwork(f"layers[{i}]", layer) for i, layer in enumerate(self.layers)]
        return networks if self.feedback is None else [*networks, SubNetwork("feedback", self.feedback)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check_input(x)
        _refuse_transforms()
        if torch.compiler.is_compiling():  # traced, the time loop would be unrolled, and compiled again for each step
            return torch.compiler.disable(self._run)(x)
        return self._run(x)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return METHODS[self.method](ForwardPass(self, x)).contiguous()

    @torch.no_grad()
    def firing_rates(self, x: torch.Tensor) -> list[float]:
        """Average firing rate of each layer for the input x, in evaluation mode: spikes per neuron and time step."""
        with self._evaluation():
            self(x)
        return self.last_forward_rates.tolist()

    @torch.no_grad()
    def spike_trains(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Spikes of each layer (T, B, ...) for the input x, in evaluation mode."""
        self._check_input(x)
        with self._evaluation(), torch.autocast(x.device.type, enabled=False):
            return ForwardPass(self, x, keep_spikes=True).trains

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        modes = [(module, module.training) for module in self.modules()]
        try:
            self.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training

    def report(self, finite: bool, sending: Sequence[bool] = (), why: str = "") -> None:
        """Warn of a pass in which something is not finite, or no neuron of a layer passes a gradient on."""
        if not finite:
            self.warn(
                "not finite",
                "a membrane potential or gradient is NaN or infinite. Look for such values in the input and the weights, or for a "
                "learning rate that is too large.",
            )
        for layer, sends in enumerate(sending):
            if not sends:
                self.warn(
                    f"layer {layer}",
                    f"no neuron of layer {layer} takes part in the gradient: {why}. The layers before it learn nothing in this step. "
                    "Check the scale of inputs and weights.",
                )

    def draw_mask(self, name: str, shape: torch.Size, rate: float, like: torch.Tensor) -> torch.Tensor | None:
        """A dropout mask for the output of the named sub-network: 0, or 1 / (1 - rate). None without dropout."""
        if rate == 0:
            return None
        return loop_order(torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - rate).div_(1 - rate))

    def warn(self, kind: str, message: str) -> None:
        """Warn, but of the same kind only at the 1st, 10th, 100th, ... time."""
        count = self._warnings[kind] = self._warnings.get(kind, 0) + 1
        if count == 10 ** (len(str(count)) - 1):
            again = "" if count == 1 else f" This is the {count}th time."
            warnings.warn(f"FeedbackRing: {message}{again}", RuntimeWarning, stacklevel=3)

    def extra_repr(self) -> str:
        rates = set(self.dropout)
        return call_arguments(
            self, FeedbackRing.__init__, dropout=rates.pop() if len(rates) == 1 else self.dropout, cuda_graph=self.graphs.mode,
            threshold=None if self.threshold == DEFAULT_THRESHOLD[self.method] else self.threshold,
        )  # fmt: skip

    def _check_numbers(self) -> None:
        """Of what may also be changed later, between training and tests."""
        self.time_steps = _count("time_steps", self.time_steps, 1)
        self.backward_time_steps = _count("backward_time_steps", self.backward_time_steps, 1)
        self.solver_steps = _count("solver_steps", self.solver_steps, 0)
        if not 0 < _number("leak", self.leak) <= 1:
            raise ValueError(
                f"FeedbackRing: expected leak above 0 and at most 1, got {self.leak}. Hint: for a time constant use leak=1 - 1/tau or exp(-1/tau)."
            )
        self.leak = _number("leak", self.leak)

    def _check_input(self, x: torch.Tensor) -> None:
        self._check_numbers()
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"FeedbackRing: expected x to be a tensor, got {type(x).__name__}.")
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"FeedbackRing: expected x to be float32 or float64, got {x.dtype}. Call x.float() first.")
        _checks.countable("FeedbackRing", max(self.time_steps, self.backward_time_steps), x.dtype)
        if x.numel() == 0:
            raise ValueError(f"FeedbackRing: expected x to have at least one sample, got shape {tuple(x.shape)}.")
        if self.input == "spikes" and x.shape[:1] != (self.time_steps,):
            raise ValueError(
                f"FeedbackRing: expected x to have shape (T, B, ...) with T = time_steps = {self.time_steps} for "
                f"input='spikes', got {tuple(x.shape)}."
            )


def _refuse_transforms():
    _transforms.refuse(
        "FeedbackRing", "its gradient is found by simulations and solvers that work in place. Call it outside the transform, and use "
        "loss.backward() or torch.autograd.grad.",
    )  # fmt: skip
    if torch.jit.is_tracing():
        raise NotImplementedError(
            "FeedbackRing: cannot be traced (torch.jit.trace, torch.onnx.export): what its time loop computes depends on the spikes. "
            "Save its state_dict, and load that into a ring of the same arguments."
        )


def _check_choice(name, value, choices):
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"FeedbackRing: expected {name} to be one of {listed}, got {value!r}.")


def _count(name, value, least):
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"FeedbackRing: expected {name} to be an int of at least {least}, got {value!r}.")
    return number


def _number(name, value) -> float:
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, (float, int)):
        raise TypeError(f"FeedbackRing: expected {name} to be a number, got {value!r}.")
    return float(number) if abs(number) < 1e300 else math.copysign(math.inf, number)


def _positive(name, value) -> float:
    number = _number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"FeedbackRing: expected {name} to be above 0, got {value}.")
    return number


def _dropout(value, count):
    rates = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * count
    if len(rates) != count:
        raise ValueError(
            f"FeedbackRing: expected one dropout rate or {count}, for [input_layer, *layers, feedback], got {len(rates)}."
        )
    for rate in rates:
        if not 0 <= _number("dropout", rate) < 1:
            raise ValueError(f"FeedbackRing: expected dropout rates of at least 0 and below 1, got {rate}.")
    return [_number("dropout", rate) for rate in rates]
