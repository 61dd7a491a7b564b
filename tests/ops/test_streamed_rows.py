"""Large tensors are written past the caches, in whole lines but for the ends of rows (kernels/cpu/stream.h): with the same bits."""

import pytest
import torch

import spikeops.functional as SF

pytestmark = pytest.mark.usefixtures("native")

GRADIENTS, STREAMED = 2 << 20, 4 << 20  # bytes, from which on gradients are, and outputs
N = 60 * 1024 - 13  # rows begin anywhere in a line, and end within a tile

CALLS = {
    "lif": lambda x, decay: SF.lif(x)[0],
    "lif, scaled": lambda x, decay: SF.lif(x, decay, input_scale=0.7)[0],
    "lif, late resets": lambda x, decay: SF.lif(x, decay, reset_timing="late")[0],
    "lif, several spikes": lambda x, decay: SF.lif(2 * x, decay, max_spikes=3)[0],
    "lif, trace": lambda x, decay: sum(SF.lif(x, decay, return_trace=True)[::2]),
    "alif": lambda x, decay: SF.alif(x, decay)[0],
    "cuba_lif": lambda x, decay: SF.cuba_lif(x, decay)[0],
    "recurrent_lif, one to one": lambda x, decay: SF.recurrent_lif(x, decay, decay)[0],
    "leaky_readout": lambda x, decay: SF.leaky_readout(x, decay)[0],
    "leaky_readout, decay a number": lambda x, decay: SF.leaky_readout(x, 0.9)[0],
    "tssl_bp": lambda x, decay: SF.tssl_bp(x),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", CALLS)
def test_same_bits_as_in_pieces(name, dtype):
    generator = torch.Generator().manual_seed(3)
    T = STREAMED // (N * dtype.itemsize) + 1
    x, upstream = torch.randn(2, T, N, generator=generator, dtype=torch.float32).mul_(0.8).to(dtype)
    decay = torch.rand(N, generator=generator).to(torch.float64 if dtype == torch.float64 else torch.float32)

    def both(x, upstream, decay):
        x, decay = x.clone().requires_grad_(), decay.clone().requires_grad_()
        output = CALLS[name](x, decay)
        return output.detach(), *torch.autograd.grad(output, (x, decay), upstream, allow_unused=True)

    whole = both(x, upstream, decay)
    borders = [0, N // 3, 2 * N // 3, N]
    parts = [slice(*border) for border in zip(borders, borders[1:])]
    assert x.nbytes >= STREAMED > GRADIENTS > max(x[:, part].nbytes for part in parts)
    pieces = [both(x[:, part], upstream[:, part], decay[part]) for part in parts]
    for at_once, *apart in zip(whole, *pieces, strict=True):
        if at_once is not None:
            assert torch.equal(at_once, torch.cat(apart, -1))


def test_batch_norm_of_a_large_tensor_is_that_of_the_definition(monkeypatch):
    """Its way back writes the gradient twice: first for itself, which stays in the caches, then past them."""
    import spikeops

    generator = torch.Generator().manual_seed(4)
    x, upstream = torch.randn(2, 9, 7, 3, 59, 61, generator=generator, dtype=torch.float64)
    assert x.numel() * 8 >= GRADIENTS

    def both():
        leaf = x.clone().requires_grad_()
        spikes = SF.batch_norm_lif(leaf, training=True)[0]
        return spikes.detach(), *torch.autograd.grad(spikes, leaf, upstream)

    spikes, gradient = both()
    with spikeops.backend("reference"):
        expected_spikes, expected = both()
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
