"""Trials of the spiking network that solves a convex optimisation problem."""

import functools
import math

import torch
from op_tests import transformed
from op_tests.kinds import Call, Module
from op_tests.layouts import lay_out
from op_tests.measured import TRIALS, Op
from op_tests.transformed import REFUSED, of_module

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference
from spikeops._backend import namespace


def trials(i, decodes=False, noise=None, learns=False, neurons=37):
    """Trials of T steps, at most 500, in the order of the schema; x has the layout of the inputs."""
    bins, trials, readouts = i.T + 1, min(math.prod(i.shape), 500), 3

    def rand(*shape):
        return torch.rand(shape, generator=i.draw, dtype=torch.float64).to(i.device, i.state)

    x = lay_out(4 * rand(bins, trials, 2) - 2, i.layout, i.device)
    encoder = rand(neurons, readouts)
    decoder = 0.1 * encoder.T
    weights = [2 * rand(neurons, 2) - 1, -encoder @ decoder, rand(neurons) - 0.5, decoder if decodes else None]
    normal = rand(i.T, trials, neurons) if noise == "given" else None
    seed = i.seed() if noise == "drawn" else None
    return x, *weights, normal, seed, *((rand(trials, readouts), encoder) if learns else (None, None))


def _raw(i, decodes=False, noise=None, learns=False):
    numbers = (0.01, 2.0, 0.05, 0.3 if noise else 0.0, 0.02, 0.03, 0.5, 0.1, 1.0, 2.0)
    return *trials(i, decodes, noise, learns), numbers, 1


RAW = {
    "convex_snn_trial": lambda i: ("convex_snn_trial", _raw(i)),
    "convex_snn_trial/noise": lambda i: ("convex_snn_trial", _raw(i, decodes=True, noise="drawn")),
    "convex_snn_trial/learning": lambda i: ("convex_snn_trial", _raw(i, noise="given", learns=True)),
}
TOO_SMALL_TO_POISON = ("convex_snn_trial/learning",)
# Compiled for each number of neurons, and slow in the interpreter: on a device its trials are in the tests of CALLS, in the interpreter in
# tests/triton/interpreted/convex.py.
WITHOUT_TRITON = tuple(RAW)


def _arguments(i, **how):
    names = ("x", "feedforward", "recurrent", "thresholds", "decoder", "noise", "seed", "targets", "encoder")
    return dict(zip(names, trials(i, **how)))


def _on_device(i, **how):
    """Few trials of as many neurons as there are, at most 300, on a step from one point to another."""
    arguments = _arguments(type(i)(i.T, (3,), i.dtype, i.layout, i.device), neurons=min(math.prod(i.shape), 300), **how)
    arguments["x"][2:] = arguments["x"][1]
    return arguments


def _from_seed(x, feedforward, recurrent, thresholds, seed, targets=None, encoder=None, buffer_steps=0, **options):
    """With noise from a seed, which the public function draws."""
    named = ("dt", "leak", "spike_cost", "sigma_v", "feedforward_rate", "threshold_rate", "threshold_drift", "forgetting")
    numbers = [*(options.get(name, 0.0) for name in named), *reference.COMMANDS["track"](options["leak"])]
    op = namespace("convex_snn_trial", x.device).convex_snn_trial
    outputs = op(x, feedforward, recurrent, thresholds, None, None, seed, targets, encoder, numbers, buffer_steps)
    return outputs[: 2 if targets is None else 4]


def _trial(function, **arguments):
    """The learned weights come back if there are targets."""
    return tuple(function(**arguments))[: 4 if "targets" in arguments else 2]


def _with_noise(x, seed, **options):
    noise = reference.convex_noise(seed, len(x) - 1, x.shape[1], len(options["feedforward"]), x.dtype)
    return _trial(reference.convex_snn_trial, x=x, noise=noise, **options)


_NEURONS = {"dt": 0.01, "leak": 2.0, "spike_cost": 0.05}
_LEARNING = {"feedforward_rate": 0.02, "threshold_rate": 0.03, "threshold_drift": 0.5, "buffer_steps": 1, "forgetting": 0.1}
_TRIAL = dict(
    dtypes=(torch.float32, torch.float64), own_bad_input="test_convex.py", positive=("dt",),
    run=functools.partial(_trial, SF.convex_snn_trial), definition=functools.partial(_trial, reference.convex_snn_trial),
)  # fmt: skip
_DRAWN = _TRIAL | dict(run=_from_seed, definition=_with_noise)
CALLS = (
    Call(name="convex_snn_trial", arguments=functools.partial(_arguments, decodes=True, noise="given"), on_device=False,
         options=_NEURONS | {"sigma_v": 0.3}, **_TRIAL),
    Call(name="convex_snn_trial/input", arguments=functools.partial(_arguments, noise="given"), on_device=False,
         options=_NEURONS | {"sigma_v": 0.3, "command": "input"}, **_TRIAL),
    Call(name="convex_snn_trial/learning", arguments=functools.partial(_arguments, noise="given", learns=True), on_device=False,
         options=_NEURONS | _LEARNING | {"sigma_v": 0.3}, **_TRIAL),
    Call(name="convex_snn_trial/drawn", arguments=functools.partial(_on_device, noise="drawn"), options=_NEURONS | {"sigma_v": 0.1},
         **_DRAWN),
    Call(name="convex_snn_trial/drawn+learning", arguments=functools.partial(_on_device, noise="drawn", learns=True),
         options=_NEURONS | _LEARNING | {"sigma_v": 0.1}, **_DRAWN),
)  # fmt: skip

MODULES = (
    Module(
        kind=snn.ConvexSNN,
        needed=dict(inputs=2, neurons=5, outputs=1),
        options=dict(dt=1e-4, leak=3.0, spike_cost=0.1, sigma_v=0.2, encoder=torch.ones(5, 1), decoder_scale=0.2,
                     feedforward_scale=2.0, feedforward_mean=0.5, threshold=0.3, threshold_spread=0.1, command="input"),
    ),
)  # fmt: skip

def _numbers_of_trial(**options):
    x, draw = torch.linspace(0, 1, 6).view(6, 1, 1), torch.Generator().manual_seed(1)
    weights = torch.ones(2, 1), -torch.ones(2, 2), torch.zeros(2)
    return list(SF.convex_snn_trial(x, *weights, targets=torch.ones(1, 2), encoder=torch.ones(2, 2), generator=draw, **options))


def _numbers_of_network(bins=5, onset=1, **options):
    torch.manual_seed(0)
    net = snn.ConvexSNN(**options)
    x = net.present(torch.ones(2, net.feedforward.shape[1]), bins, onset)
    return [net(x), *net.state_dict().values()]


NUMBERS = {
    SF.convex_snn_trial: (_numbers_of_trial, dict(
        dt=0.25, leak=1.0, spike_cost=0.5, sigma_v=0.5, feedforward_rate=0.5, threshold_rate=0.25, threshold_drift=0.5, buffer_steps=1,
        forgetting=0.5,
    )),
    snn.ConvexSNN: (_numbers_of_network, dict(
        inputs=2, neurons=5, outputs=1, dt=0.25, leak=1.0, spike_cost=0.5, sigma_v=0.0, decoder_scale=0.5, feedforward_scale=2.0,
        feedforward_mean=0.5, threshold=0.25, threshold_spread=0.5, bins=6, onset=2,
    )),
}  # fmt: skip


def _transformed(x, feedforward):
    decoder = 0.1 * torch.ones(2, 6, dtype=x.dtype)
    recurrent = -torch.ones(6, 2, dtype=x.dtype) @ decoder
    thresholds = torch.linspace(-0.5, 0.5, 6, dtype=x.dtype)
    trials = SF.convex_snn_trial(x, feedforward, recurrent, thresholds, decoder, dt=0.1, leak=2.0)
    return trials.readout, trials.spikes


_OF_TRIALS = ("T", "B", 2)
TRANSFORMED = {
    "convex_snn_trial": transformed.Call(_transformed, (_OF_TRIALS, (6, 2)), (1, None), gradient=REFUSED, forward=REFUSED),
    "ConvexSNN": of_module(lambda: snn.ConvexSNN(2, 6, 1), (_OF_TRIALS,), gradient=REFUSED, forward=REFUSED),
}

# --- benchmarks: N is the number of neurons of all trials together ----------------------------------------------------------

_MEASURED_NEURONS = 200


def _inputs(T, N, dtype, device):
    """(T + 1, trials, 2): steps from 0 to points of a square."""
    points = 2 * torch.rand(math.ceil(N / _MEASURED_NEURONS), 2, device=device) - 1
    x = points.to(dtype).repeat(T + 1, 1, 1)
    x[0] = 0
    return x


@functools.lru_cache
def _network(device):
    """What makes a network follow a convex surface: feed-forward and recurrent weights, thresholds, decoder."""
    draw = torch.Generator().manual_seed(0)
    feedforward = 1.4 * torch.randn(_MEASURED_NEURONS, 2, generator=draw)
    encoder = torch.ones(_MEASURED_NEURONS, 1)
    decoder = 0.02 * encoder.T
    return [w.to(device) for w in (feedforward, -encoder @ decoder, torch.zeros(_MEASURED_NEURONS), decoder)]


def _readout(function):
    return lambda x, T: function(x, *_network(x.device), dt=1e-3, leak=2.0)[1]


MEASURED = (
    Op(
        "convex_snn_trial",
        fused=_readout(SF.convex_snn_trial),
        eager=_readout(reference.convex_snn_trial),
        make_input=_inputs,
        tests=("test_convex.py", "test_golden_convex.py"),
        moves=lambda T, N: (4 * (T + 1) * math.ceil(N / _MEASURED_NEURONS) * (2 + 1), None),  # two inputs, one readout
        sizes=TRIALS,
    ),
)
