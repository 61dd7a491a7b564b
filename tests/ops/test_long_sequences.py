"""Of very long sequences the CPU kernels keep the history of one segment of time at a time, of as many steps as fit into some megabytes.
Neurons do not see each other: what a few get, whose history fits as a whole, is what they get among others, bit for bit."""

import pytest
import torch

import spikeops.functional as SF

pytestmark = pytest.mark.usefixtures("native")

T, MANY, FEW = 40_000, 64, 3  # of 64 neurons 32,768 steps of a float32 history are 8 MB, of 3 neurons 699,050
NEURONS = {
    "lif": lambda x, decay, v: SF.lif(x, decay, v_init=v),
    "lif/to": lambda x, decay, v: SF.lif(x, decay, reset="to", v_reset=-0.1, v_rest=0.05, input_scale=0.7, v_init=v),
    "lif_rate": lambda x, decay, v: (SF.lif_rate(x, decay, v_init=v),),
    "lif_rate/decay": lambda x, decay, v: (SF.lif_rate(x, decay, weighting="decay", v_init=v),),
    "alif": lambda x, decay, v: SF.alif(x, decay, v_init=v)[:2],
    "tssl_bp": lambda x, decay, v: (SF.tssl_bp(x),),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NEURONS)
def test_segments_of_time(draw, name, dtype):
    state = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.rand(T, MANY, generator=draw).to(dtype)
    decay, v = (0.5 + 0.4 * torch.rand(MANY, generator=draw)).to(state), torch.rand(MANY, generator=draw).to(state)

    def run(neurons):
        leaves = [tensor[..., :neurons].clone().requires_grad_() for tensor in (x, decay, v)]
        outputs = NEURONS[name](*leaves)
        upstream = [torch.randn(o.shape[:-1] + (MANY,), generator=torch.Generator().manual_seed(1)).to(o.dtype)[..., :neurons] for o in outputs]
        return [*outputs, *torch.autograd.grad(outputs, leaves, upstream, allow_unused=True)]

    for place, (few, many) in enumerate(zip(run(FEW), run(MANY))):
        assert (few is None) == (many is None)
        if few is not None:
            assert few.isfinite().all() and few.abs().sum() > 0
            assert torch.equal(few, many[..., :FEW]), f"result {place}"
