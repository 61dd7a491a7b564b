"""What is measured: each op with its input, its plain PyTorch opponent and the bytes it has to move."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil

import torch
from torch import Tensor

import spikeops.functional as SF
from spikeops import reference, surrogate
from spikeops._dtypes import state_dtype

from ops import baselines

FORWARD, FORWARD_GRAD, BACKWARD, FULL = "forward", "forward_grad", "backward", "full"
MODES = (FORWARD, FORWARD_GRAD, BACKWARD, FULL)
"""forward: without gradient. forward_grad: keeps what the backward pass needs. backward: by itself. full: both passes."""

SPIKES_PER_WORD = 16  # of packed spikes


OVERHEAD_SIZE = (1, 4)  # so small that a call costs Python and dispatch only

SIZES = {
    "cpu": (OVERHEAD_SIZE, (5, 40_000), (10, 100_000), (30, 200_000)),
    # The most telling one first: many times larger than any cache. Down to calls that cost a launch only.
    "cuda": ((32, 4_194_304), (4, 16_777_216), (128, 1_048_576), (32, 131_072), (8, 8_388_608), (4, 4_096), OVERHEAD_SIZE),
}
CUDA_HALF_SIZES = ((32, 4_194_304),)
LONG = {"cpu": {"tssl_bp": ((100, 20_000),)}, "cuda": {}}  # sizes of single ops: the O(T^2) formulation suffers from long T
# Steps of feedback networks are taken one at a time in a ring of layers, and several at once where nothing feeds back.
STEP_SIZES = {
    "cpu": (OVERHEAD_SIZE, (1, 40_000), (1, 1_000_000), (10, 1_000_000)),
    "cuda": ((1, 16_777_216), (10, 4_194_304), (1, 1_000_000), (10, 1_000_000), (1, 40_000), OVERHEAD_SIZE),
}
# Trials of the convex-optimisation network are long, and N is the number of neurons of all trials together.
TRIAL_NEURONS = 200
TRIAL_SIZES = {
    "cpu": (OVERHEAD_SIZE, (100, 40_000), (400, 200_000)),
    "cuda": ((400, 200_000), (100, 40_000), (400, 4_000_000), OVERHEAD_SIZE),
}
# Each surrogate with each reset is a code path of its own.
VARIANT = "lif "  # how their names begin
VARIANT_SIZES = {"cpu": ((10, 100_000),), "cuda": ((32, 1_048_576),)}


@dataclass(frozen=True)
class Op:
    """An op that turns one tensor into another, some of them with the help of state that they update.

    Args:
        fused: (input, T, *state) -> output, by whichever backend is chosen
        eager: the same in plain PyTorch
        make_input: (T, N, dtype, device) -> input
        tests: the files under tests/ops that prove it; their names, with wildcards
        has_gradient: whether the modes with gradients make sense
        backward_reads_input: False for linear ops
        is_random: whether outputs of the two can only be compared by their mean
        of: the public function, where its name is another
        published: input (N, 1, 1, 1, T) -> output, in the published formulation, where there is one
        make_state: input -> tensors that calls update, and a last one that they fill: the output
        is_stepwise: whether it is called again and again for few time steps, so that it is measured at other sizes
        is_trial: whether it runs trials of a network, which is measured at other sizes, in float32 only
    """

    name: str
    fused: Callable[..., Tensor]
    eager: Callable[..., Tensor]
    make_input: Callable[..., Tensor]
    tests: tuple[str, ...]
    has_gradient: bool = False
    backward_reads_input: bool = True
    is_random: bool = False
    of: str = ""
    published: Callable[[Tensor], Tensor] | None = None
    make_state: Callable[[Tensor], tuple[Tensor, ...]] = lambda x: ()
    is_stepwise: bool = False
    is_trial: bool = False

    @property
    def function(self) -> str:
        """Its name in spikeops.functional."""
        return self.of or self.name

    @property
    def is_variant(self) -> bool:
        """Whether it is an op that is measured by itself already, with other options."""
        return self.name.startswith(VARIANT)

    @property
    def modes(self) -> tuple[str, ...]:
        if self.is_variant:
            return (FULL,)
        return MODES if self.has_gradient else (FORWARD,)

    @property
    def sizes(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """(T, N) by the kind of device."""
        if self.is_variant:
            return VARIANT_SIZES
        return TRIAL_SIZES if self.is_trial else STEP_SIZES if self.is_stepwise else SIZES

    def minimum_bytes(self, mode: str, input_bytes: int, output_bytes: int) -> int:
        """Bytes that `mode` moves at least: every input is read once per pass, every output written once. State is both.

        The backward pass reads the output's gradient, reads the input again where the gradient depends on it, and writes the
        input's gradient. For T x N values in and out: forward 2 T N values, backward 3, both 5. What a neuron has only one of
        (its last membrane potential, say) is not counted, except as state.
        """
        forward = input_bytes + output_bytes
        backward = output_bytes + input_bytes * (2 if self.backward_reads_input else 1)
        return {FORWARD: forward, FORWARD_GRAD: forward, BACKWARD: backward, FULL: forward + backward}[mode]


def _currents(T, N, dtype, device):
    """Gaussian currents that make LIF neurons fire in about a fifth of the time steps."""
    return (0.3 + 0.5 * torch.randn(T, N, device=device)).to(dtype)


@functools.lru_cache
def _thresholds(N, device):
    return 0.3 + 0.2 * torch.randn(N, generator=torch.Generator().manual_seed(0)).to(device)


def _clamped(function):
    """Membrane potentials of one sample after T time steps, each neuron with a threshold of its own."""
    return lambda x, T: function(x, _thresholds(x.shape[1], x.device), time_steps=T)[1]


def _spikes(T, N, dtype, device):
    return (torch.rand(T, N, device=device) < 0.2).to(dtype)


def _packed(T, N, dtype, device):
    return torch.randint(2**16, (ceil(T / SPIKES_PER_WORD), N), dtype=torch.int32, device=device).to(torch.uint16)


def _probabilities(T, N, dtype, device):
    return torch.rand(N, device=device).to(dtype)


def _step_state(x):
    """Membrane potentials, rates, and room for the spikes."""
    state = state_dtype(x.dtype)
    return torch.zeros_like(x[0], dtype=state), torch.zeros_like(x[0], dtype=state), torch.empty_like(x)


def _trial_inputs(T, N, dtype, device):
    """(T + 1, trials, 2): steps from 0 to points of a square."""
    points = 2 * torch.rand(ceil(N / TRIAL_NEURONS), 2, device=device) - 1
    x = points.to(dtype).repeat(T + 1, 1, 1)
    x[0] = 0
    return x


@functools.lru_cache
def _trial_network(device):
    """What makes a network follow a convex surface: feed-forward and recurrent weights, thresholds, decoder."""
    draw = torch.Generator().manual_seed(0)
    feedforward = 1.4 * torch.randn(TRIAL_NEURONS, 2, generator=draw)
    encoder = torch.ones(TRIAL_NEURONS, 1)
    decoder = 0.02 * encoder.T
    return [w.to(device) for w in (feedforward, -encoder @ decoder, torch.zeros(TRIAL_NEURONS), decoder)]


def _trial_readout(function):
    return lambda x, T: function(x, *_trial_network(x.device), dt=1e-3, leak=2.0)[1]


LAYER_UNITS, CLASSES = (800, 512, 1), 10


def _samples(x):
    """(T, N) as (T, samples, units): the first number of units that divides N."""
    return x.unflatten(1, (-1, next(units for units in LAYER_UNITS if x.shape[1] % units == 0)))


def _layer_state(x):
    """A classifier, labels, the state of layer and classifier, room for the spikes and for the gradients."""
    x = _samples(x)
    samples, units = x.shape[1:]
    draw = torch.Generator().manual_seed(0)
    weight = (torch.randn(CLASSES, units, generator=draw) / units**0.5).to(x.device, x.dtype)
    labels = torch.arange(samples, device=x.device) % CLASSES
    state = state_dtype(x.dtype)
    membrane, squared_error = torch.zeros_like(x[0], dtype=state), x.new_zeros(samples, dtype=state)
    class_membrane, count = x.new_zeros((2, samples, CLASSES), dtype=state)
    return weight, labels, membrane, class_membrane, count, squared_error, torch.empty_like(x[0]), torch.empty_like(x)


def _local_learning_steps(x, weight, labels, membrane, class_membrane, count, squared_error, spikes, gradients):
    error = x.new_empty(class_membrane.shape)
    for current, gradient in zip(_samples(x), gradients):
        SF.local_learning_step_(membrane, spikes, gradient, current, weight, class_membrane, count, squared_error, error, labels,
                                baselines.DECAY, baselines.THRESHOLD)  # fmt: skip
    return gradients


def _published_tssl_bp(x):
    from ops import published_tssl_bp

    return published_tssl_bp.tssl_bp(x)


def _lif_variants():
    """Every surrogate with every reset, but for the pair that `lif` is measured with."""
    kinds = [kind for kind in vars(surrogate).values() if isinstance(kind, type) and kind.__base__ is surrogate.Surrogate]
    for kind in kinds:
        for reset in ("subtract", "to", "none"):
            options = {"reset": reset, "surrogate": kind()}
            if (options["reset"], kind) == ("subtract", type(baselines.SURROGATE)):
                continue
            yield Op(
                f"{VARIANT}{kind.__name__} {reset}",
                fused=functools.partial(_lif_with, SF.lif, options),
                eager=functools.partial(_lif_with, reference.lif, options),
                make_input=_currents,
                tests=("test_lif.py", "test_lif_options.py", "test_surrogates.py"),
                has_gradient=True,
                of="lif",
            )


def _lif_with(function, options, x, T):
    return function(x, baselines.DECAY, baselines.THRESHOLD, **options)[0]


OPS = {
    op.name: op
    for op in (
        Op(
            "lif",
            fused=lambda x, T: SF.lif(x, baselines.DECAY, baselines.THRESHOLD, surrogate=baselines.SURROGATE)[0],
            eager=lambda x, T: baselines.lif(x),
            make_input=_currents,
            tests=("test_lif.py", "test_lif_options.py", "test_surrogates.py"),
            has_gradient=True,
        ),
        Op(
            "lif_rate",
            fused=lambda x, T: SF.lif_rate(x, baselines.DECAY, baselines.THRESHOLD, surrogate=baselines.SURROGATE),
            eager=lambda x, T: baselines.lif_rate(x),
            make_input=_currents,
            tests=("test_lif_rate.py", "test_surrogates.py"),
            has_gradient=True,
        ),
        Op(
            "tssl_bp",
            fused=lambda x, T: SF.tssl_bp(x),
            eager=lambda x, T: reference.tssl_bp(x),
            make_input=_currents,
            tests=("test_tssl_bp.py", "test_golden_tssl_bp.py"),
            has_gradient=True,
            published=_published_tssl_bp,
        ),
        Op(
            "feedback_step_",
            fused=lambda x, T, membrane, rate, spikes: SF.feedback_step_(membrane, spikes, rate, x, threshold=baselines.THRESHOLD),
            eager=lambda x, T, *state: baselines.feedback_steps(x, *state),
            make_input=_currents,
            tests=("test_feedback.py", "test_feedback_bad_input.py"),
            make_state=_step_state,
            is_stepwise=True,
        ),
        Op(
            "ternary_step_",
            fused=lambda x, T, membrane, rate, spikes: SF.ternary_step_(membrane, spikes, rate, x, threshold=baselines.THRESHOLD),
            eager=lambda x, T, *state: baselines.ternary_steps(x, *state),
            make_input=_currents,
            tests=("test_feedback.py", "test_feedback_bad_input.py"),
            make_state=_step_state,
            is_stepwise=True,
        ),
        Op(
            "clamped_lif",
            fused=_clamped(SF.clamped_lif),
            eager=_clamped(reference.clamped_lif),
            make_input=lambda T, N, dtype, device: _currents(1, N, dtype, device),
            tests=("test_clamped.py",),
            has_gradient=True,
            backward_reads_input=False,
        ),
        Op(
            "convex_snn_trial",
            fused=_trial_readout(SF.convex_snn_trial),
            eager=_trial_readout(reference.convex_snn_trial),
            make_input=_trial_inputs,
            tests=("test_convex.py", "test_golden_convex.py"),
            is_trial=True,
        ),
        Op(
            "local_learning_step_",
            fused=lambda x, T, *state: _local_learning_steps(x, *state),
            eager=lambda x, T, *state: baselines.local_learning_steps(_samples(x), *state),
            make_input=_currents,
            tests=("test_local.py", "test_local_bad_input.py"),
            make_state=_layer_state,
            is_stepwise=True,
        ),
        Op(
            "local_gradient_in_time",
            fused=lambda x, T: SF.local_gradient_in_time(x[0], x, baselines.DECAY, baselines.THRESHOLD),
            eager=lambda x, T: baselines.local_gradient_in_time(x[0], x),
            make_input=lambda T, N, dtype, device: torch.rand(T, N, device=device).to(dtype),
            tests=("test_local.py", "test_local_bad_input.py"),
        ),
        Op(
            "synaptic_filter",
            fused=lambda x, T: SF.synaptic_filter(x, 3.0),
            eager=lambda x, T: reference.synaptic_filter(x, 3.0),
            make_input=_spikes,
            tests=("test_synaptic_filter.py",),
            has_gradient=True,
            backward_reads_input=False,
        ),
        Op(
            "spike_count",
            fused=lambda s, T: SF.spike_count(s),
            eager=lambda s, T: reference.spike_count(s),
            make_input=_spikes,
            tests=("test_spike_count.py",),
        ),
        Op(
            "spike_count_packed",
            fused=lambda words, T: SF.spike_count(words),
            eager=lambda words, T: reference.spike_count(words),
            make_input=_packed,
            tests=("test_spike_count.py", "test_pack.py"),
            of="spike_count",
        ),
        Op(
            "pack_spikes",
            fused=lambda s, T: SF.pack_spikes(s),
            eager=lambda s, T: reference.pack_spikes(s),
            make_input=_spikes,
            tests=("test_pack.py",),
        ),
        Op(
            "unpack_spikes",
            fused=lambda words, T: SF.unpack_spikes(words, T),
            eager=lambda words, T: reference.unpack_spikes(words, T),
            make_input=_packed,
            tests=("test_pack.py",),
        ),
        Op(
            "poisson_encode",
            fused=lambda p, T: SF.poisson_encode(p, T),
            eager=baselines.poisson_encode,
            make_input=_probabilities,
            tests=("test_encode.py",),
            is_random=True,
        ),
        Op(
            "latency_encode",
            fused=lambda p, T: SF.latency_encode(p, T),
            eager=lambda p, T: reference.latency_encode(p, T),
            make_input=_probabilities,
            tests=("test_encode.py",),
        ),
        *_lif_variants(),
    )
}


@dataclass(frozen=True)
class Case:
    """An op at one size."""

    op: Op
    T: int
    N: int
    dtype: torch.dtype = torch.float32

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def label(self) -> str:
        return f"{self.op.name}-T{self.T}-N{self.N}-{self.dtype_name}"


def cases(device: str) -> list[Case]:
    """All that is measured on a kind of device (cpu or cuda): by op on the CPU, on a GPU, where time is short, by size."""
    listed = []
    for op in OPS.values():
        of_op = [Case(op, T, N) for T, N in (*op.sizes[device], *LONG[device].get(op.name, ()))]
        # Packed words are the same for all dtypes.
        if device == "cuda" and op.make_input is not _packed and not op.is_trial and not op.is_variant:
            of_op[1:1] = [Case(op, T, N, dtype) for T, N in CUDA_HALF_SIZES for dtype in (torch.bfloat16, torch.float16)]
        listed.append(of_op)
    if device == "cpu":
        return [case for of_op in listed for case in of_op]
    return [case for rank in zip_longest(*listed) for case in rank if case is not None]


def compile_is_worth_it(case: Case, device: str) -> bool:
    """torch.compile unrolls the loop and takes up to minutes for long T, so that only some sizes are compiled."""
    if case.dtype != torch.float32 or (case.T, case.N) == OVERHEAD_SIZE or case.op.is_variant:
        return False
    if device == "cpu":
        return case.T <= 5 or (case.T <= 10 and (case.op.is_stepwise or case.op.name in ("lif", "tssl_bp")))
    return case.N > 10_000 and (case.T <= 10 if case.op.is_stepwise else case.T <= 4 and case.op.has_gradient)
