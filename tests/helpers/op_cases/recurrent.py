"""Recurrent spiking neurons."""

import functools
import math

import torch
from op_tests import measured, transformed
from op_tests.inputs import Inputs
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, X, of_module

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.functional._lif_options import RESETS
from spikeops.functional.cuba_lif import ORDERS, TIMINGS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def weights(i, one_to_one=False):
    """Weights that are multiples of a power of two, so that sums of them are exact; the more neurons the smaller, so that gradients do not
    grow from step to step beyond float16."""
    N = i.shape[-1]
    unit = 64 if one_to_one else 64 * 2 ** max(0, math.ceil(math.log2(N) / 2) - 1) if N else 64
    drawn = torch.randint(-24, 25, (N,) if one_to_one else (N, N), generator=i.draw) / unit
    return i.leaf(drawn.to(i.state).to(i.device))


def _bias(i):
    return i.leaf((torch.randint(-8, 9, i.shape[-1:], generator=i.draw) / 32).to(i.state).to(i.device))


def _numbers(i, spread):
    """Tensors for what neurons have one of, in the order of RECURRENT_NEURON."""
    ranges = ((0.3, 0.9), (0.3, 0.9), (0.5, 1.5), (0.6, 1.4), (0.5, 0.95))
    return [i.parameter(spread, *bounds) for bounds in ranges] if spread else [None] * 5


def _initial(i):
    return [i.v_init(), i.v_init(), i.v_init(), i.leaf((torch.rand(i.shape, generator=i.draw) < 0.4).to(i.state).to(i.device))]


def neurons(i, spread=None, initial=False, order="decay_input_membrane", reset="subtract", reset_timing="now", strict=False,
            detach_reset=False, takes_threshold=True, surrogate=ATan(2.0), one_to_one=False, bias=False):  # fmt: skip
    """The arguments RECURRENT_NEURON of csrc/recurrent.cpp."""
    kind, scale, peak = surrogate.coefficients
    numbers = (0.6, 0.5, 0.7, 1.0, 0.9, 0.25, 1.0, 0.8, -0.2, 0.1, scale, peak)
    modes = (ORDERS[order], RESETS[reset], TIMINGS[reset_timing], int(strict), int(detach_reset), int(takes_threshold), kind)
    tensors = (*_numbers(i, spread), *(_initial(i) if initial else [None] * 4))
    return i.x(), weights(i, one_to_one), _bias(i) if bias else None, *tensors, numbers, modes


def _gradients(i):
    return i.gradient(), *(i.gradient(False, i.state) for _ in range(3))


def backward(i, grads, needs, **options):
    arguments = neurons(i, **options)
    return "recurrent_lif_backward", (*grads, _spikes(i), *arguments, needs)


def _spikes(i):
    """Some: the backward pass takes those that it is given."""
    return (torch.rand((i.T, *i.shape), generator=i.draw) < 0.3).to(i.dtype).to(i.device)


def _with_neurons(call):
    """For inputs without an axis of neurons: a layer of one."""

    def made(i):
        return call(i if i.shape else Inputs(i.T, (1,), i.dtype, device=i.device, grad=i.grad, on_grid=i.on_grid))

    return made


_ALL, _NONE = [1] * 9, [0] * 9
_CALLS = {
    "recurrent_lif": lambda i: ("recurrent_lif_forward", neurons(i)),
    "recurrent_lif/to": lambda i: (
        "recurrent_lif_forward", neurons(i, "one", True, "input_decay_membrane", reset="to", strict=True, bias=True)
    ),
    "recurrent_lif/one_to_one": lambda i: (
        "recurrent_lif_forward", neurons(i, "per_neuron", False, "input_membrane_decay", reset="none", one_to_one=True)
    ),
    "recurrent_lif/late": lambda i: (
        "recurrent_lif_forward", neurons(i, "per_channel", True, "membrane_decay_input", reset_timing="late", takes_threshold=False)
    ),
    "recurrent_lif_backward": lambda i: backward(i, _gradients(i), _ALL, spread="one", initial=True, bias=True),
    "recurrent_lif_backward/spikes": lambda i: backward(
        i, (i.gradient(), None, None, None), _NONE, order="input_decay_membrane", takes_threshold=False
    ),
    "recurrent_lif_backward/state": lambda i: backward(
        i, (None, *_gradients(i)[1:]), [1, 0, 1, 0, 1, 0, 0, 0, 0], spread="per_channel", order="membrane_decay_input", reset="to"
    ),
    "recurrent_lif_backward/late": lambda i: backward(
        i, _gradients(i), _ALL, spread="per_neuron", initial=True, order="input_membrane_decay", reset_timing="late"
    ),
    "recurrent_lif_backward/one_to_one": lambda i: backward(
        i, _gradients(i), [0] * 5 + [1] * 4, initial=True, reset="to", reset_timing="late_with_input", detach_reset=True, one_to_one=True
    ),
}  # fmt: skip
RAW = {name: _with_neurons(call) for name, call in _CALLS.items()}

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _recurrent(i, decay="number", current_decay=None, current_scale=None, threshold=None, adaptation_decay=None, v_init=None, i_init=None,
               a_init=None, s_init=None, bias=None, one_to_one=False):  # fmt: skip
    ranges = {"current_scale": (0.5, 1.5), "threshold": (0.6, 1.4)}
    spreads = dict(decay=decay, current_decay=current_decay, current_scale=current_scale, threshold=threshold,
                   adaptation_decay=adaptation_decay)  # fmt: skip
    numbers = {name: spread and i.parameter(spread, *ranges.get(name, (0.3, 0.9))) for name, spread in spreads.items()}
    initial = dict(v_init=v_init, i_init=i_init, a_init=a_init, s_init=s_init)
    initial = {name: spread and i.v_init(spread) for name, spread in initial.items()}
    return {"x": i.x(), "weight": weights(i, one_to_one), "bias": bias and _bias(i), **numbers, **initial}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "current_scale", "beta", "input_scale", "reset_amount", "v_reset", "v_rest")
_SPREAD = ("decay", "threshold", "current_decay", "current_scale", "adaptation_decay", "v_init", "i_init", "a_init", "s_init")
_TENSORS = ("x", "weight", "bias", *_SPREAD)
_CALL = dict(differentiable=_TENSORS, keeps=_TENSORS, keeps_outputs=(0,), weights=("weight", "bias"), own_test="test_recurrent.py",
             own_bad_input="test_recurrent.py")  # fmt: skip
_PER_NEURON = functools.partial(_recurrent, **dict.fromkeys(_SPREAD, "per_neuron"), bias=True)
CALLS = (
    Call(
        name="recurrent_lif", arguments=_recurrent, spikes=0, float32=_NUMBERS, **_CALL,
        spreads={"decay": SPREADS, "current_decay": (None, *SPREADS), "v_init": (None, *SPREADS[1:]), "s_init": (None, *SPREADS[1:])},
        ranges={
            "threshold": (0.5, 1.5), "current_scale": _BETWEEN, "beta": (0.0, 0.5), "input_scale": _BETWEEN, "order": [*ORDERS],
            "reset": [*RESETS], "v_reset": _BETWEEN, "v_rest": _BETWEEN, "reset_timing": [*TIMINGS], "strict": [False, True],
            "detach_reset": [False, True], "reset_amount": [None, 0.0, 0.7, -1.1],
            "surrogate": [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)],
        },
    ),
    Call(name="recurrent_lif/parameters", arguments=_PER_NEURON, spikes=0, **_CALL,
         options={"reset": "to", "v_reset": -0.125, "order": "input_decay_membrane", "beta": 0.25}),
    Call(name="recurrent_lif/late", arguments=_PER_NEURON, spikes=0, **_CALL,
         options={"reset_timing": "late", "order": "input_membrane_decay", "beta": 0.25}),
    Call(name="recurrent_lif/one_to_one", arguments=functools.partial(_PER_NEURON, one_to_one=True), spikes=0, **_CALL,
         options={"detach_reset": True, "order": "membrane_decay_input"}),
)  # fmt: skip


def _far_from_the_threshold(draw, shape):
    """Input on which every neuron is either far above or far below its threshold, at every step; numbers, weights and states."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (5, 2, 3), generator=draw)]
    x = (far + torch.rand(5, 2, 3, generator=draw)).double()
    ranges = ((0.02, 0.05), (0.1, 0.2), (0.9, 1.1), (0.9, 1.1), (0.3, 0.6))
    numbers = [(low + (high - low) * torch.rand(shape, generator=draw)).double() for low, high in ranges]
    states = [(0.3 * torch.rand(shape, generator=draw)).double() for _ in range(4)]
    return x, torch.randn(3, 3, generator=draw).double() / 8, *numbers, *states


def _state(options, x, weight, decay, current_decay, current_scale, threshold, adaptation_decay, v_init, i_init, a_init, s_init):
    tensors = dict(current_decay=current_decay, current_scale=current_scale, adaptation_decay=adaptation_decay, v_init=v_init,
                   i_init=i_init, a_init=a_init, s_init=s_init)  # fmt: skip
    spikes, *last = SF.recurrent_lif(x, weight, decay, threshold, beta=0.1, surrogate=Triangle(0.1), **tensors, **options)
    assert 0 < spikes.mean() < 1
    return torch.stack(last)


SMOOTH = tuple(
    Smooth(name=f"recurrent_lif/{options}", function=functools.partial(_state, options), tensors=_far_from_the_threshold)
    for options in (
        dict(reset="subtract"),
        dict(reset_amount=0.4, v_rest=0.2, input_scale=1.5, order="input_decay_membrane"),
        dict(reset="to", v_reset=-0.3, order="input_membrane_decay"),
    )
)  # fmt: skip

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------

MODULES = (
    Module(
        kind=snn.RecurrentLIF,
        needed=dict(features=3),
        options=dict(decay=0.9, threshold=0.5, all_to_all=False, bias=True, current_decay=0.8, order="input_decay_membrane",
                     current_scale=0.4, adaptation_decay=0.7, beta=0.2, learn_decays=True, input_scale=2.0, reset="to", reset_amount=0.7,
                     v_reset=-0.1, v_rest=0.1, reset_timing="late", strict=True, detach_reset=True, surrogate=Sigmoid(3.0),
                     return_state=True),
        state=("weight",),
    ),
)  # fmt: skip

_ROW = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0))
_RING = torch.eye(3).roll(1, 0) / 4
_VALUES = dict(decay=0.5, threshold=1.0, current_decay=0.75, current_scale=0.25, adaptation_decay=0.5, beta=0.25, input_scale=0.5,
               reset_amount=0.75, v_reset=0.25, v_rest=0.125)  # fmt: skip


def _module(features, **options):
    module = snn.RecurrentLIF(features, **options)
    torch.nn.init.constant_(module.weight, 0.25)
    return [module(_ROW)]


NUMBERS = {
    SF.recurrent_lif: (lambda **o: SF.recurrent_lif(_ROW, _RING, **o), _VALUES),
    snn.RecurrentLIF: (_module, _VALUES | {"features": 3}),
}

# --- transforms -------------------------------------------------------------------------------------------------------------


def _parameters(**options):
    def function(x, weight, number, v_init, s_init):
        decays = dict(decay=0.4 + number / 4, current_decay=0.3 + number / 5, adaptation_decay=0.2 + number / 4)
        return SF.recurrent_lif(
            x, (weight - 0.8) / 2, **decays, threshold=0.5 + number / 2, current_scale=0.5 + number, bias=number / 8, beta=0.2,
            v_init=v_init, s_init=s_init, **options,
        )  # fmt: skip

    return transformed.Call(function, (X, ("N", "N"), ("N",), STEP, STEP), (1, None, None, 0, 0))


TRANSFORMED = {
    "recurrent_lif": transformed.Call(lambda x, weight: SF.recurrent_lif(x, (weight - 0.8) / 2, 0.9), (X, ("N", "N")), (1, None)),
    "recurrent_lif/parameters": _parameters(order="input_decay_membrane"),
    "recurrent_lif/to": _parameters(reset="to", v_reset=-0.2, v_rest=0.1, order="input_membrane_decay"),
    "recurrent_lif/late": _parameters(reset_timing="late", order="membrane_decay_input"),
    "recurrent_lif/one_to_one": transformed.Call(lambda x, weight: SF.recurrent_lif(x, weight - 0.8, 0.9), (X, ("N",)), (1, None)),
    "RecurrentLIF": of_module(lambda: snn.RecurrentLIF(WIDTH, 0.6, bias=True, learn_decays=True, beta=0.2, return_state=True)),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        return grad_spike * SURROGATE.derivative(*ctx.saved_tensors)


def _layers(x):
    """Layers of 200 neurons, as far as x has them, and their weights, multiples of 1/256: sums of them are exact in any order."""
    N = math.gcd(x.shape[-1], 200)
    weight = torch.randint(-24, 25, (N, N), generator=torch.Generator().manual_seed(0)) / 256
    return x.unflatten(-1, (-1, N)), weight.to(x)


def _fused(x, T):
    layers, weight = _layers(x)
    return SF.recurrent_lif(layers, weight, DECAY, THRESHOLD, surrogate=SURROGATE)[0].flatten(1)


def _eager(x, T):
    layers, weight = _layers(x)
    v = spike = torch.zeros_like(layers[0])
    spikes = []
    for x_t in layers:
        u = DECAY * v + (x_t + spike @ weight.T)
        spike = _Spike.apply(u - THRESHOLD)
        v = u - THRESHOLD * spike
        spikes.append(spike)
    return torch.stack(spikes).flatten(1)


MEASURED = (
    Op(
        "recurrent_lif",
        fused=_fused,
        eager=_eager,
        make_input=measured.currents,
        tests=("test_recurrent.py",),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
        sizes=measured.TRIALS,
    ),
)
