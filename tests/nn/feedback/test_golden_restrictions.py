"""Norm restrictions of the feedback weight against numbers made by the published code.

Reads wnorm_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden). Not compared: how the published Frobenius restriction scales
the initial weight, which forgets a square.
"""

import pytest
import torch
from feedback_tests.golden import Golden, golden_files, relative_error
from torch import nn

import spikeops.nn as snn
from spikeops.nn.feedback import restrictions

TOLERANCE = 2e-6


def cases(pattern):
    paths = golden_files(pattern)
    if not hasattr(paths[0], "stem"):
        return paths
    return [
        pytest.param((path, name.removesuffix("__hp_norm_range")), id=name.removesuffix("__hp_norm_range"))
        for path in paths
        for name in Golden(path).arrays
        if name.endswith("__hp_norm_range")
    ]


def layer_with(weight):
    if weight.dim() == 2:
        layer = nn.Linear(*weight.shape[::-1], bias=False)
    else:
        layer = nn.Conv2d(*weight.shape[1::-1], weight.shape[2:], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def calls(golden, name, key):
    found = [array for array in golden.arrays if array.startswith(f"{name}__call") and array.endswith(f"_{key}")]
    assert found
    return [array.removesuffix(f"_{key}") for array in found]


@pytest.mark.parametrize("case", cases("wnorm_spectral.npz"))
def test_spectral_norm(case):
    path, name = case
    golden = Golden(path)
    layer = snn.restrict_spectral_norm(layer_with(golden[f"{name}__weight_initial"]), golden[f"{name}__hp_norm_range"].item())
    restriction = layer.parametrizations.weight[0]
    for call in calls(golden, name, "u_before"):
        with torch.no_grad():
            restriction.gain.copy_(golden[f"{call}_g"])
            restriction.left_vector.copy_(golden[f"{call}_u_before"])
            restriction.right_vector.copy_(golden[f"{call}_v_before"])
        layer.zero_grad()
        effective = layer.weight
        (effective * golden[f"{name}__cotangent"]).sum().backward()
        assert relative_error(effective, golden[f"{call}_weff"]) < TOLERANCE
        assert relative_error(restriction.left_vector, golden[f"{call}_u_after"]) < TOLERANCE
        assert relative_error(restriction.right_vector, golden[f"{call}_v_after"]) < TOLERANCE
        # Terms of the gradient cancel: its rounding is that of what was added up.
        scale = golden[f"{name}__cotangent"].norm()
        for actual, expected in (
            (restriction.gain.grad, golden[f"{call}_grad_g"]),
            (layer.parametrizations.weight.original.grad, golden[f"{call}_grad_w"]),
        ):
            assert (actual - expected).abs().max() <= TOLERANCE * scale, call


@pytest.mark.parametrize("case", cases("wnorm_spectral.npz"))
def test_initial_gain_is_the_norm(case, monkeypatch):
    """From the published random vectors, the published gain."""
    path, name = case
    golden = Golden(path)
    draws = [golden[f"{name}__init_sigma_randn_u"], torch.randn(len(golden[f"{name}__init_sigma_randn_u"]))]
    monkeypatch.setattr(torch, "randn_like", lambda like: draws.pop(0))
    layer = snn.restrict_spectral_norm(layer_with(golden[f"{name}__weight_initial"]))
    assert relative_error(layer.parametrizations.weight[0].gain, golden[f"{name}__g_initial"]) < 1e-5


@pytest.mark.parametrize("case", cases("wnorm_frob.npz"))
def test_frobenius_norm(case, monkeypatch):
    path, name = case
    golden = Golden(path)
    layer = snn.restrict_frobenius_norm(layer_with(golden[f"{name}__weight_initial"]), golden[f"{name}__hp_norm_range"].item())
    for call in calls(golden, name, "V"):
        draws = golden[f"{call}_V"]
        monkeypatch.setattr(restrictions.FrobeniusNormRestriction, "draw", staticmethod(lambda samples, matrix, draws=draws: draws))
        original = layer.parametrizations.weight.original
        with torch.no_grad():
            original.copy_(golden[f"{call}_weight_w"])
        layer.zero_grad()
        effective = layer.weight
        (effective * golden[f"{name}__cotangent"]).sum().backward()
        assert relative_error(effective, golden[f"{call}_weff"]) < TOLERANCE
        assert relative_error(original.grad, golden[f"{call}_grad_w"]) < TOLERANCE
