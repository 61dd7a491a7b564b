"""What FeedbackRing and its parts say about input that does not fit: which argument, what was given, what is expected."""

import re
import warnings

import pytest
import torch
from torch import nn

import spikeops.nn as snn


def ring(**options):
    return snn.FeedbackRing([nn.Linear(7, 5)], nn.Linear(5, 7), nn.Linear(6, 7), **options)


@pytest.mark.parametrize("options, message", [
    ({"time_steps": 0}, "expected time_steps to be an int of at least 1, got 0"),
    ({"time_steps": 2.5}, "expected time_steps to be an int of at least 1, got 2.5"),
    ({"backward_time_steps": 0}, "expected backward_time_steps to be an int of at least 1, got 0"),
    ({"solver_steps": -1}, "expected solver_steps to be an int of at least 0, got -1"),
    ({"leak": 0}, "expected leak above 0 and at most 1, got 0"),
    ({"leak": 1.5}, "expected leak above 0 and at most 1, got 1.5"),
    ({"leak": float("nan")}, "expected leak above 0 and at most 1, got nan"),
    ({"threshold": 0}, "expected threshold to be above 0, got 0"),
    ({"method": "bptt"}, "expected method to be one of 'ide', 'spide', got 'bptt'"),
    ({"solver": "newton"}, "expected solver to be one of 'broyden', 'fixed_point', got 'newton'"),
    ({"input": "poisson"}, "expected input to be one of 'constant', 'spikes', got 'poisson'"),
    ({"on_solver_failure": "stop"}, "expected on_solver_failure to be one of 'warn', 'raise', got 'stop'"),
    ({"cuda_graph": "yes"}, "expected cuda_graph to be one of 'auto', True, False, got 'yes'"),
    ({"method": "spide", "u_rest": 1.0}, "expected threshold - u_rest to be above 0, got 0.0"),
    ({"u_rest": -1.0}, "expected no u_rest for method='ide', whose reset takes the threshold, got -1.0"),
    ({"backward_threshold": 0}, "expected backward_threshold to be above 0, got 0"),
    ({"backward_u_rest": 0.5}, "expected backward_threshold - backward_u_rest to be above 0, got 0.0"),
    ({"threshold": float("inf")}, "expected threshold to be above 0, got inf"),
    ({"dropout": 1.0}, "expected dropout rates of at least 0 and below 1, got 1.0"),
    ({"dropout": [0.1, 0.2]}, "expected one dropout rate or 3, for [input_layer, *layers, feedback], got 2"),
])  # fmt: skip
def test_options(options, message):
    with pytest.raises(ValueError, match=re.escape(f"FeedbackRing: {message}")):
        ring(**options)


@pytest.mark.parametrize("name", ["leak", "threshold", "dropout", "backward_threshold", "u_rest", "backward_u_rest"])
@pytest.mark.parametrize("value", ["0.5", True, torch.tensor(0.5)], ids=str)
def test_options_that_are_no_numbers(name, value):
    with pytest.raises(TypeError, match=f"FeedbackRing: expected {name} to be a number, got "):
        ring(method="spide", **{name: value})


@pytest.mark.parametrize("module, message", [
    (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2)), "expected no dropout module in feedback, got Dropout(p=0.2, inplace=False)"),
    (nn.LazyLinear(2), "expected feedback with its weights, got LazyLinear(in_features=0, out_features=2, bias=True). Run it on a batch"),
    (nn.Conv2d(2, 2, 3, padding_mode="circular"), "expected feedback to pad with zeros, got padding_mode='circular'"),
    (nn.Sequential(nn.Conv2d(2, 2, 2, padding="same")), "expected padding='same' with an odd kernel"),
    (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)), "feedback has a batch-norm without running statistics"),
    (nn.Flatten(2), "expected Flatten(1, -1) in feedback"),
])  # fmt: skip
def test_sub_networks(module, message):
    with pytest.raises(ValueError, match=re.escape(f"FeedbackRing: {message}")):
        snn.FeedbackRing([], module, nn.Linear(2, 2))


def test_parts_that_are_no_modules():
    with pytest.raises(TypeError, match="expected feedback to be a module or None, got function"):
        snn.FeedbackRing([], lambda x: x, nn.Linear(2, 2))
    with pytest.raises(TypeError, match=re.escape("expected input_layer to be a module, got NoneType. nn.Identity() for none.")):
        snn.FeedbackRing([], None, None)


@pytest.mark.parametrize("name, value", [("time_steps", 0), ("backward_time_steps", 0), ("solver_steps", -1), ("leak", 0)])
def test_options_that_are_changed_later(name, value):
    module = ring(method="spide")
    setattr(module, name, value)
    with pytest.raises(ValueError, match=f"FeedbackRing: expected {name}"):
        module(torch.rand(2, 6))


def test_spide_needs_affine_sub_networks():
    with pytest.raises(ValueError, match=r"expected affine sub-networks for method='spide', got a batch-norm in layers\[0\]"):
        snn.FeedbackRing([nn.BatchNorm1d(7)], nn.Linear(7, 7), nn.Linear(6, 7), method="spide")
    inside = nn.ModuleDict({"norm": nn.BatchNorm1d(7)})
    with pytest.raises(ValueError, match=r"got a batch-norm in layers\[0\]"):
        snn.FeedbackRing([inside], nn.Linear(7, 7), nn.Linear(6, 7), method="spide")
    bent = snn.FeedbackRing([nn.Sequential(nn.Linear(7, 7), nn.ReLU())], nn.Linear(7, 7), nn.Linear(6, 7), method="spide")
    with pytest.raises(ValueError, match=r"expected affine sub-networks for method='spide', but layers\[0\] is not"):
        bent(torch.rand(2, 6))


class Switched(nn.Module):
    """Affine in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(7, 7))

    def forward(self, x):
        y = self.inner(x)
        return y.relu() if self.training else y


@pytest.mark.parametrize("bend", [
    lambda module: module.train(),
    lambda module: module.inner.append(nn.ReLU()),
    lambda module: module.inner[0].register_forward_hook(lambda module, args, y: y.relu()),
    lambda module: module.inner[0].register_forward_pre_hook(lambda module, args: args[0].relu()),
], ids=["mode", "module", "hook", "pre-hook"])  # fmt: skip
def test_modules_that_were_affine_once_are_looked_at_again(bend):
    layer = Switched()
    module = snn.FeedbackRing([layer], nn.Linear(7, 7), nn.Linear(6, 7), method="spide").eval()
    module(torch.rand(2, 6))
    bend(layer)
    with pytest.raises(ValueError, match=r"expected affine sub-networks for method='spide', but layers\[0\] is not"):
        module(torch.rand(2, 6))


@pytest.mark.parametrize("layers, feedback, message", [
    ([nn.Conv2d(4, 5, 3, 2, 1)], nn.ConvTranspose2d(5, 4, 3, 2, 1),
     "feedback maps spiking layer 1, of shape (5, 4, 4), to (4, 7, 7), but input_layer drives spiking layer 0 with (4, 8, 8)"),
    ([nn.Conv2d(3, 5, 3)], None, "layers[0] does not take the output of spiking layer 0, of shape (4, 8, 8)"),
    ([], nn.Linear(4, 4), "feedback does not take the output of spiking layer 0, of shape (4, 8, 8)"),
])  # fmt: skip
def test_a_ring_that_does_not_close(layers, feedback, message):
    module = snn.FeedbackRing(layers, feedback, nn.Conv2d(1, 4, 3, padding=1))
    with pytest.raises(ValueError, match=re.escape(message)):
        module(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("x, error, message", [
    ([1.0], TypeError, "expected x to be a tensor, got list"),
    (torch.zeros(2, 6).half(), TypeError, "expected x to be float32 or float64, got torch.float16. Call x.float() first."),
    (torch.zeros(2, 6, dtype=torch.int64), TypeError, "expected x to be float32 or float64, got torch.int64"),
    (torch.zeros(0, 6), ValueError, "expected x to have at least one sample, got shape (0, 6)"),
    (torch.zeros(2, 3), ValueError, "input_layer does not take x of shape (2, 3)"),
    (torch.zeros(2, 6).double(), ValueError, "input_layer does not take x of shape (2, 6)"),
])  # fmt: skip
def test_inputs(x, error, message):
    with pytest.raises(error, match=re.escape(f"FeedbackRing: {message}")):
        ring()(x)


def test_samples_come_in_batches():
    """PyTorch's convolutions take a single image as well."""
    module = snn.FeedbackRing([], nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1))
    with pytest.raises(ValueError, match=re.escape("input_layer does not take x of shape (1, 8, 8): it makes (4, 8, 8) of it.")):
        module(torch.rand(1, 8, 8))


def test_spike_input_needs_all_time_steps():
    with pytest.raises(ValueError, match=re.escape("with T = time_steps = 4 for input='spikes', got (3, 2, 6)")):
        ring(input="spikes", time_steps=4)(torch.zeros(3, 2, 6))


@pytest.mark.parametrize("method, message", [
    ("ide", "no neuron of layer 0 takes part in the gradient: each is at rate 0 or 1 in the equilibrium equation"),
    ("spide", "no neuron of layer 0 takes part in the gradient: each is silent"),
])  # fmt: skip
def test_neurons_without_gradient_are_named(method, message):
    module = ring(method=method)
    with torch.no_grad():
        module.input_layer.bias.fill_(-100)
    with pytest.warns(RuntimeWarning, match=message):
        module(torch.rand(2, 6)).sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_an_input_that_is_nan_is_reported(method):
    module = ring(method=method, threshold=0.5)
    with pytest.warns(RuntimeWarning, match="a membrane potential or gradient is NaN or infinite"):
        module(torch.full((2, 6), float("nan"))).sum().backward()


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("where", ["input", "infinite input", "weight"])
@pytest.mark.parametrize("method", ["ide", "spide"])
def test_what_is_not_finite_is_reported_where_neurons_would_hide_it(method, where, feedback):
    """A neuron whose potential is NaN is silent: rates stay finite, in evaluation too."""
    module = snn.FeedbackRing([nn.Linear(7, 5)], nn.Linear(5, 7) if feedback else None, nn.Linear(6, 7), method=method)
    x = torch.rand(2, 6)
    if where == "weight":
        with torch.no_grad():
            module.layers[0].weight[2, 3] = float("nan")
    else:
        x[1, 2] = float("inf" if where == "infinite input" else "nan")
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="a membrane potential or gradient is NaN or infinite"):
        assert module.eval()(x).isfinite().all()
    module._warnings.clear()
    with pytest.warns(RuntimeWarning, match="a membrane potential or gradient is NaN or infinite"):
        module.train()(x)


@pytest.mark.parametrize("options", [{}, {"solver_steps": 0}], ids=["no feedback", "no solver"])
@pytest.mark.parametrize("method", ["ide", "spide"])
def test_a_gradient_that_is_nan_is_reported_where_nothing_is_solved(method, options):
    feedback = nn.Linear(7, 7) if options else None
    module = snn.FeedbackRing([], feedback, nn.Linear(6, 7), method=method, threshold=0.5, **options)
    with pytest.warns(RuntimeWarning, match="a membrane potential or gradient is NaN or infinite"):
        module(torch.rand(2, 6)).backward(torch.full((2, 7), float("nan")))
    with torch.no_grad():
        module.input_layer.bias.fill_(-100)
    with pytest.warns(RuntimeWarning, match="no neuron of layer 0 takes part in the gradient"):
        module(torch.rand(2, 6)).sum().backward()


def test_an_ordinary_step_warns_of_nothing():
    for method in ("ide", "spide"):
        torch.manual_seed(1)
        module = ring(method=method, threshold=0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            module(torch.rand(4, 6)).sum().backward()


@pytest.mark.parametrize("restrict", [snn.restrict_spectral_norm, snn.restrict_frobenius_norm])
def test_restrictions(restrict):
    name = restrict.__name__
    with pytest.raises(ValueError, match=f"{name}: expected norm_range above 0, got 0"):
        restrict(nn.Linear(2, 2), 0)
    with pytest.raises(TypeError, match=f"{name}: expected a module with a weight matrix or kernel, got ReLU"):
        restrict(nn.ReLU())
    with pytest.raises(ValueError, match="(?s)init_unit_norm_: the weight of .* is restricted already"):
        snn.init_unit_norm_(restrict(nn.Linear(2, 2)))


def test_a_weight_of_zeros_stays_finite():
    for restrict in (snn.restrict_spectral_norm, snn.restrict_frobenius_norm):
        layer = nn.Linear(3, 3, bias=False)
        nn.init.zeros_(layer.weight)
        assert torch.equal(restrict(layer).weight, torch.zeros(3, 3))


def test_samples_of_the_frobenius_norm():
    with pytest.raises(ValueError, match="restrict_frobenius_norm: expected samples of at least 1, or None, got 0"):
        snn.restrict_frobenius_norm(nn.Linear(2, 2), samples=0)
