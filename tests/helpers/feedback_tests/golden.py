"""Golden files of IDE and SPIDE: rings built from their arrays, and what is compared with them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.nn.feedback.restrictions import FrobeniusNormRestriction

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[2] / "golden")


def golden_files(*patterns):
    files = sorted(path for pattern in patterns for path in GOLDEN.glob(pattern))
    reason = f"no {' or '.join(patterns)} in {GOLDEN}"
    return files or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def case_name(path):
    return getattr(path, "stem", "none")


class Golden:
    """The arrays of one file as tensors."""

    def __init__(self, path):
        self.name = path.stem
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}

    def __contains__(self, name):
        return name in self.arrays

    def __getitem__(self, name):
        return torch.from_numpy(np.ascontiguousarray(self.arrays[name]).copy()).view(self.arrays[name].shape)

    def hp(self, name, default=None):
        """A hyper-parameter."""
        return self.arrays[f"hp_{name}"].item() if f"hp_{name}" in self.arrays else default

    def under(self, prefix):
        """Names after the prefix, with their tensors."""
        return {name.removeprefix(prefix): self[name] for name in self.arrays if name.startswith(prefix)}

    @property
    def method(self):
        return "spide" if "SPIDE" in self.arrays["source"].item() else "ide"

    def input(self, name="in_x"):
        """Time first, where there is one."""
        x = self[name]
        return x.movedim(-1, 0).contiguous() if self.hp("input_type") == "spikes" else x

    @property
    def sub_networks(self):
        """Names of the published sub-networks around the ring: input first, feedback last."""
        names = sorted({name.split("__")[1] for name in self.arrays if name.startswith("param__network_s")})
        return ["network_x", *names]


def build(golden, **options):
    """The published network of a golden file: the ring, its classifier, and the name here of each published parameter."""
    names = golden.sub_networks
    if golden.hp("fc_num"):  # LeNet: pooling layers in between, no feedback
        modules = [_convolution(golden, names[0]), nn.AvgPool2d(2), _convolution(golden, names[1]), nn.AvgPool2d(2),
                   nn.Sequential(nn.Flatten(), _layer(golden, names[2]))]  # fmt: skip
        feedback, prefixes = None, {0: names[0], 2: names[1], 4: names[2]}
        dropout = [0, 0, 0, 0, golden.hp("fc_dropout")]
    else:
        modules = [_convolution(golden, name) for name in names]
        feedback, prefixes = modules.pop(), dict(enumerate(names[:-1]))
        dropout = golden.hp("dropout", 0.0)
    settings = dict(
        method=golden.method, time_steps=golden.hp("time_step"), leak=golden.hp("leaky"), threshold=golden.hp("vth"),
        dropout=dropout, input=golden.hp("input_type", "constant"),
    )  # fmt: skip
    if golden.method == "spide":
        settings |= dict(backward_time_steps=golden.hp("time_step_back"), backward_threshold=golden.hp("vth_back"))
        settings |= dict(u_rest=golden.hp("u_rest"), backward_u_rest=golden.hp("u_rest_back"))
    else:
        settings["solver_steps"] = golden.hp("solver_threshold")
    ring = snn.FeedbackRing(modules[1:], feedback, modules[0], **settings | options)
    classifier = nn.Linear(*golden["param__classifier__weight"].shape[::-1])
    published = {"classifier": classifier} | {name: modules[i] for i, name in prefixes.items()}
    if feedback is not None:
        published[names[-1]] = feedback
    _load(golden, published)
    return ring, classifier, published


def _convolution(golden, name):
    """Convolution or linear layer, batch-norm and pooling, as far as the file has them."""
    layers = [_layer(golden, name)]
    if f"param__{name}__bn__weight" in golden:
        channels = len(golden[f"param__{name}__bn__weight"])
        layers.append(nn.BatchNorm2d(channels) if isinstance(layers[0], nn.Conv2d) else nn.BatchNorm1d(channels))
    if name == "network_x" and golden.hp("pooling_x"):
        layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers)


def _layer(golden, name):
    prefix = f"param__{name}__"
    kind = next(key.removeprefix(prefix).split("__")[0] for key in golden.arrays if key.startswith(prefix))
    restricted = f"{prefix}{kind}__weight_w" in golden
    weight = golden[f"{prefix}{kind}__weight_w" if restricted else f"{prefix}{kind}__weight"]
    bias = f"{prefix}{kind}__bias" in golden
    if kind == "fc":
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias)
    elif kind == "convT":
        layer = nn.ConvTranspose2d(*weight.shape[:2], weight.shape[2:], 2, weight.shape[2] // 2, 1, bias=bias)
    else:
        made = snn.WSConv2d if "wsconv" in golden.name or "wsconv=True" in golden.arrays["source"].item() else nn.Conv2d
        stride, padding = _geometry(golden, name, weight.shape[2])
        layer = made(weight.shape[1], weight.shape[0], weight.shape[2:], stride, padding, bias=bias)
    if restricted:
        restrict = snn.restrict_spectral_norm if golden.method == "ide" else snn.restrict_frobenius_norm
        restrict(layer, golden.hp("norm_range"))
    return layer


def _geometry(golden, name, kernel):
    if name == "network_x":
        return golden.hp("stride_x"), golden.hp("padding_x")
    # AlexNet-F and its kin halve the image at s2, the MNIST network at s1.
    halves = {5: "network_s2", 3: "network_s1"}.get(len(golden.sub_networks) - 1)
    return (2 if name == halves and not golden.hp("fc_num") else 1), kernel // 2


def _load(golden, published):
    """Parameters and buffers from before the run."""
    ours = {key: value for name, module in published.items() for key, value in published_state(name, module).items()}
    theirs = golden.under("param__") | golden.under("buf_before__")
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(theirs[name])


def published_state(name, module):
    """Parameters and buffers of a sub-network by their published names."""
    state = {}
    for key, value in [*module.named_parameters(), *module.named_buffers()]:
        for ours, published in {
            "parametrizations.weight.original": "weight_w", "parametrizations.weight.0.gain": "weight_g",
            "parametrizations.weight.0.left_vector": "weight_u", "parametrizations.weight.0.right_vector": "weight_v",
        }.items():  # fmt: skip
            key = key.replace(ours, published)
        *path, last = key.split(".")
        kind = {nn.Linear: "fc", nn.ConvTranspose2d: "convT"}.get(_base(module, path), "conv")
        if name == "classifier":
            state[f"{name}__{last}"] = value
        else:
            state[f"{name}__{'bn' if path and isinstance(_child(module, path), _BATCH_NORMS) else kind}__{last}"] = value
    return state


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _child(module, path):
    return module.get_submodule(".".join(path))


def _base(module, path):
    child = _child(module, path)
    return next((kind for kind in (nn.Linear, nn.ConvTranspose2d) if isinstance(child, kind)), None)


def use_published_draws(monkeypatch, golden, ring, mode):
    """Dropout masks and Gaussian vectors of the file instead of random ones."""
    masks, names = golden.under("mask__") | golden.under("dropmask__"), golden.sub_networks
    ours = {"input_layer": names[0], "feedback": names[-1]}
    if golden.hp("fc_num"):
        ours = {"layers[3]": names[-1]}
    else:
        ours |= {f"layers[{i}]": name for i, name in enumerate(names[1:-1])}

    def draw_mask(name, shape, rate, like):
        return None if rate == 0 else masks[ours[name]].view(shape)

    monkeypatch.setattr(ring, "draw_mask", draw_mask)
    if f"{mode}__frob_V" in golden:
        draws = golden[f"{mode}__frob_V"]
        monkeypatch.setattr(FrobeniusNormRestriction, "draw", staticmethod(lambda samples, matrix: draws.to(matrix)))


def relative_error(actual, expected):
    """Largest difference relative to the largest magnitude."""
    expected = expected.double()
    return (actual.detach().double() - expected).abs().max() / expected.abs().max().clamp_min(1e-30)


# A membrane potential as close to the threshold as this (but not at it) may fall to either side by rounding.
UNDECIDED = 1e-5


def same_spikes(populations, expected, threshold):
    """Whether all spikes are the expected ones. They must be in samples without a potential that rounding could decide on.

    Args:
        populations: lists of (potential, spikes) per time step, as a Recorder keeps them.
        expected: spikes (T, B, ...) of each population.
    """
    undecided = False
    for population in populations:
        distance = (torch.stack([potential for potential, _ in population]).abs() - threshold).abs()
        near = (distance > 0) & (distance < UNDECIDED)
        undecided = undecided | near.transpose(0, 1).flatten(1).any(1)
    same = True
    for index, (population, spikes) in enumerate(zip(populations, expected, strict=True)):
        actual = torch.stack([spikes for _, spikes in population])
        assert torch.equal(actual[:, ~undecided], spikes[:, ~undecided].to(actual)), f"population {index}"
        same = same and torch.equal(actual, spikes.to(actual))
    return same
