"""Spikes that autograd keeps, as bits, on a device: nothing waits for it, and the memory is free."""

import pytest
import torch
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn


def network():
    torch.manual_seed(0)
    block = nn.Sequential(snn.TimeDistributed(nn.Conv2d(8, 8, 3, padding=1)), snn.TimeDistributed(nn.BatchNorm2d(8)), snn.LIF(0.9))
    return nn.ModuleList([snn.LIF(0.9), block, nn.Sequential(nn.Flatten(2), nn.Linear(8 * 64, 5))]).cuda()


def gradients(forward, x):
    net, x = network(), x.clone().requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = forward(net, x).square().sum()
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [x.grad, *(parameter.grad for parameter in net.parameters()), *net.state_dict().values()]


def plain(net, x):
    for layer in net:
        x = layer(x)
    return x


def packed(net, x):
    with spikeops.pack_saved_spikes():
        return plain(net, x)


def checkpointed(net, x):
    return net[2](snn.checkpoint(net[1], net[0](x)))


@pytest.mark.parametrize("forward", [packed, checkpointed])
def test_the_same_without_a_wait(forward):
    x = 1.2 * torch.rand(4, 3, 8, 8, 8, device="cuda")
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
        gradients(plain, x)  # what the libraries do once
        expected, actual = gradients(plain, x), gradients(forward, x)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=0)


def test_memory_is_free():
    x = torch.rand(16, 2**20, device="cuda", requires_grad=True)
    weight = torch.rand(16, 1, device="cuda", requires_grad=True)

    def allocated(block):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        with block:
            output = (SF.lif(x)[0] * weight).sum()
        return torch.cuda.memory_allocated() - before, output

    plain_bytes, _ = allocated(torch.enable_grad())
    packed_bytes, _ = allocated(spikeops.pack_saved_spikes())
    assert plain_bytes - packed_bytes >= x.nbytes * 30 // 32


def test_values_are_looked_at_on_request_only():
    spikes, layer = (torch.rand(4, 3, 8, device="cuda") > 0.5).float(), nn.Linear(8, 2).cuda()
    with pytest.raises(ValueError, match="expected spikes on cuda:0 that a spiking op or module of spikeops made"):
        snn.checkpoint(layer, spikes)
    snn.checkpoint(layer, spikes, check_values=True).sum().backward()
    assert torch.equal(layer.weight.grad[0], spikes.sum((0, 1)))
    with pytest.raises(ValueError, match="expected spikes to be 0 or 1"):
        snn.checkpoint(layer, spikes * 2, check_values=True)
