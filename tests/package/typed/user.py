"""What a type checker says of a user's program: `test_types.py` runs mypy on it. An ignored error that does not occur is one."""

import torch
from typing_extensions import assert_type

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import ATan, Sigmoid

Tensor = torch.Tensor
x = torch.rand(5, 3, 4)

# What comes back, also where an argument decides it.
assert_type(SF.lif(x, decay=0.9, reset="to", v_reset=-0.1, surrogate=Sigmoid(4.0)), tuple[Tensor, Tensor])
assert_type(SF.lif(x, threshold=x[0, 0], return_trace="after"), tuple[Tensor, Tensor, Tensor])
assert_type(SF.lif_rate(x, torch.tensor(0.9), weighting="decay"), Tensor)
assert_type(SF.tssl_bp(x), Tensor)
assert_type(SF.tssl_bp(x, 5.0, 3.0, 1.0, False), Tensor)
assert_type(SF.tssl_bp(x, return_spikes=True), tuple[Tensor, Tensor])
assert_type(SF.tssl_bp(x, 5.0, 3.0, 1.0, True), tuple[Tensor, Tensor])


def undecided(return_spikes: bool) -> None:
    assert_type(SF.tssl_bp(x, return_spikes=return_spikes), Tensor | tuple[Tensor, Tensor])


assert_type(SF.spike_count(x), Tensor)
assert_type(spikeops.convert(torch.nn.Sequential(snn.LIF()), strict=False), torch.nn.Sequential)
assert_type(SF.unpack_spikes(SF.pack_spikes(x), 5), Tensor)
assert_type(SF.synaptic_filter(SF.poisson_encode(x[0], T=5), tau_s=3.0), Tensor)
assert_type(SF.latency_encode(x[0], 5), Tensor)
assert_type(SF.clamped_lif(x, x[0, 0]), tuple[Tensor, Tensor])
conv = snn.SpikeConv2d(5, 8, 3)
assert_type(SF.spike_conv2d(x[None], conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation), Tensor)
pool = snn.AvgPool2d(2)
assert_type(SF.avg_pool2d(x[None], 2, (2, 2)), Tensor)
linear = snn.SpikeLinear(5, 8)
assert_type(SF.spike_linear(x, linear.weight, linear.bias), Tensor)
assert_type(ATan(2.0).derivative(x), Tensor)
assert_type(SF.local_gradient_in_time(x[0], x, 0.9), Tensor)

# Modules.
net = torch.nn.Sequential(
    snn.TimeDistributed(torch.nn.Linear(4, 8)), snn.LIF(0.9, reset="subtract"), snn.IF(strict=True),
    snn.ParametricLIF(0.9, shape=(8,), detach_reset=True), snn.TSSLBP(tau_m=5), snn.SynapticFilter(3.0),
)  # fmt: skip
block = snn.LocalBlock(torch.nn.Linear(4, 8, bias=False), snn.LocalClassifier((8,), 10, feedback="alignment"), rule="fell", update="window")
step = block.learn(x[0], torch.tensor([3, 1, 4]), torch.optim.Adam(block.parameters()))
assert_type(step.spikes, Tensor)
losses = snn.LocalLossBlock(torch.nn.Linear(4, 8), (8,), classes=10, loss="sim").local_losses(x, torch.tensor([3, 1, 4]))
clamped = snn.LocalLossBlock(torch.nn.Linear(4, 8), (8,), classes=10, neuron="clamped")
assert_type(clamped.local_losses((x[0], x[0]), torch.tensor([3, 1, 4])).total, Tensor)
assert_type(losses.pred, Tensor | None)
ring = snn.FeedbackRing([], snn.restrict_spectral_norm(torch.nn.Linear(8, 8)), torch.nn.Linear(4, 8), method="spide", cuda_graph=False)
assert_type(ring.firing_rates(x[0]), list[float])
assert_type(ring.last_forward_rates, Tensor | None)
convex = snn.ConvexSNN(2, 50, 1)
points = snn.ConvexSNN.present(torch.rand(3, 2), bins=10)
assert_type(convex.trials(points, generator=torch.Generator()).readout, Tensor)
assert_type(convex.decoder, Tensor)
assert_type(convex.feedforward, torch.nn.Parameter)
with spikeops.backend("reference"):
    spikeops.set_backend("auto")
spikeops.backends()

# A name that is not one.
SF.lif(x, v_threshold=1.0)  # type: ignore[call-overload]
SF.lif_rate(x, weights="mean")  # type: ignore[call-arg]
snn.LIF(0.9, v_threshold=1.0)  # type: ignore[call-arg]
snn.IF(decay=0.9)  # type: ignore[call-arg]
snn.ParametricLIF(0.9, reset_mode="to")  # type: ignore[call-arg]
convex.trials(points, noises=None)  # type: ignore[call-arg]

# A value that is not one.
SF.lif(x, reset="zero")  # type: ignore[call-overload]
SF.lif_rate(x, weighting="sum")  # type: ignore[arg-type]
SF.lif(x, surrogate="atan")  # type: ignore[call-overload]
snn.LIF("0.9")  # type: ignore[arg-type]
snn.LIF(reset="zero")  # type: ignore[arg-type]
snn.IF(reset="zero")  # type: ignore[arg-type]
snn.ParametricLIF(reset="zero")  # type: ignore[arg-type]
snn.LocalClassifier((8,), 10, feedback="none")  # type: ignore[arg-type]
snn.LocalBlock(torch.nn.Linear(4, 8), torch.nn.Linear(8, 10), rule="bptt")  # type: ignore[arg-type]
snn.LocalLossBlock(torch.nn.Linear(4, 8), (8,), 10, neuron="iaf")  # type: ignore[arg-type]
snn.LocalLossBlock(torch.nn.Linear(4, 8), (8,), 10, "mse")  # type: ignore[arg-type]
snn.FeedbackRing([], None, torch.nn.Linear(4, 8), method="bptt")  # type: ignore[arg-type]
spikeops.set_backend("cuda")  # type: ignore[arg-type]
