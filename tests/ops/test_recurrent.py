"""recurrent_lif against its reference, its equations by hand, the ops that it is made of, and the recurrent neurons of other
libraries."""

import pytest
import torch
from op_tests.compare import assert_same_results, run_both
from op_tests.layouts import UPSTREAM
from op_tests.neurons import DTYPES, SPREADS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import surrogate
from spikeops.functional.cuba_lif import ORDERS, TIMINGS

# A few layers that a thread takes alone or together, and widths around those of vectors, warps and blocks.
LAYERS = ((1,), (31,), (3, 16), (2, 3, 33), (65, 8), (2, 67), (2, 600))


def matrix(draw, N, dtype, device, one_to_one=False):
    """Multiples of 1/64."""
    return (torch.randint(-24, 25, (N,) if one_to_one else (N, N), generator=draw) / 64).to(dtype).to(device)


@parametrize(
    T=(1, 2, 5, 17), shape=LAYERS, upstream=list(UPSTREAM), dtype=DTYPES, reset=["subtract", "to", "none"], order=list(ORDERS),
    reset_timing=list(TIMINGS), decay=SPREADS, number=SPREADS, initial=(None, *SPREADS[1:]), reset_amount=[None, 0.6],
    detach_reset=[False, True], one_to_one=[False, True], bias=[False, True], beta=[0.0, 0.25],
)  # fmt: skip
def test_matches_the_reference(
    device, draw, T, shape, upstream, dtype, reset, order, reset_timing, decay, number, initial, reset_amount, detach_reset, one_to_one,
    bias, beta,
):  # fmt: skip
    state = state_dtype(dtype)
    tensors, options = split_arguments(
        x=currents(draw, T, shape, dtype, device=device),
        weight=matrix(draw, shape[-1], state, device, one_to_one),
        bias=matrix(draw, shape[-1], state, device, True) if bias else None,
        decay=parameter(draw, decay, shape, state, 0.2, 0.95, device),
        current_decay=parameter(draw, decay, shape, state, 0.0, 0.9, device),
        current_scale=parameter(draw, number, shape, state, 0.3, 1.2, device),
        adaptation_decay=parameter(draw, number, shape, state, 0.3, 0.95, device),
        threshold=parameter(draw, number, shape, state, 0.6, 1.4, device),
        v_init=initial and parameter(draw, initial, shape, state, -0.5, 1.5, device),
        i_init=initial and parameter(draw, initial, shape, state, -0.5, 1.0, device),
        a_init=initial and parameter(draw, initial, shape, state, 0.0, 1.0, device),
        s_init=initial and parameter(draw, initial, shape, state, 0.0, 1.0, device).round(),
        reset=reset, order=order, reset_timing=reset_timing, reset_amount=reset_amount, detach_reset=detach_reset, beta=beta,
    )  # fmt: skip
    actual, expected = run_both("recurrent_lif", tensors, options, upstream, weights=[n for n in ("weight", "bias") if n in tensors])
    assert_same_results(actual, expected)


def test_sums_are_in_the_order_of_the_neurons(device, draw):
    """Weights of any size: float32 sums of them depend on the order."""
    N = 150
    x = currents(draw, 12, (3, N), torch.float32, device=device)
    weight = (torch.randn(N, N, generator=draw) * 10 ** torch.randint(-4, 1, (N, N), generator=draw)).to(device)
    spikes, v, *_ = SF.recurrent_lif(x, weight, 0.9, s_init=torch.ones(3, N, device=device))
    state, before = torch.zeros(3, N, device=device), torch.ones(3, N, device=device)
    for t in range(12):
        returned = torch.zeros(3, N, device=device)
        for j in range(N):
            returned = torch.where(before[:, j : j + 1] != 0, returned + weight[:, j], returned)
        u = 0.9 * state + (x[t] + returned)
        before = (u >= 1).float()
        state = u - before
        assert torch.equal(spikes[t], before), f"step {t}"
    assert torch.equal(v, state)


def test_equations_by_hand(device):
    # Neuron 0 excites 1 with 1, which inhibits 0 with -1; decay 0.5, threshold 1.
    weight = torch.tensor([[0.0, -1.0], [1.0, 0.0]], device=device)
    x = torch.tensor([[1.0, 0.0], [1.5, 0.25], [1.5, 0.0]], device=device)
    spikes, v, _, a = SF.recurrent_lif(x, weight)
    # u = (1, 0): 0 fires. u = (1.5, 1.25): both fire, v = (0.5, 0.25). u = (0.25 + 1.5 - 1, 0.125 + 1) = (0.75, 1.125): 1 fires
    assert spikes.tolist() == [[1, 0], [1, 1], [0, 1]] and v.tolist() == [0.75, 0.125]
    spikes, v, _, a = SF.recurrent_lif(x, weight, beta=1.0, adaptation_decay=0.5)
    # theta = (1, 1): as above, a = (1, 0). theta = (2, 1): u = (1.5, 1.25), 1 fires, v = (1.5, 0.25), a = (0.5, 1).
    # theta = (1.5, 2): u = (0.75 + 1.5 - 1, 0.125) = (1.25, 0.125): none fires, a = (0.25, 0.5)
    assert spikes.tolist() == [[1, 0], [0, 1], [0, 0]] and v.tolist() == [1.25, 0.125] and a.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_weights_it_is_lif_alif_and_cuba_lif(device, draw, dtype):
    x = currents(draw, 20, (3, 40), dtype, device=device)
    weight = torch.zeros(40, 40, device=device)
    for ours, theirs in (
        (SF.recurrent_lif(x, weight, 0.9)[:2], SF.lif(x, 0.9)),
        (SF.recurrent_lif(x, weight, 0.9, beta=0.3)[::3], SF.alif(x, 0.9, beta=0.3)[::2]),
        (SF.recurrent_lif(x, weight, 0.9, current_decay=0.5)[:3], SF.cuba_lif(x, 0.9)),
        (SF.recurrent_lif(x, weight, 0.9, current_decay=0.5, reset_timing="late")[:3], SF.cuba_lif(x, 0.9, reset_timing="late")),
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_timing", TIMINGS)
def test_pieces_give_the_same_spikes_and_gradients_as_the_whole(device, draw, dtype, reset_timing):
    x = currents(draw, 20, (2, 33), dtype, device=device).requires_grad_()
    weight = matrix(draw, 33, state_dtype(dtype), device).requires_grad_()
    options = dict(decay=0.9, current_decay=0.3, current_scale=0.5, beta=0.1, reset_timing=reset_timing)
    whole = SF.recurrent_lif(x, weight, **options)
    pieces, v, i, a, s = [], None, None, None, None
    for piece in x.split([1, 7, 12]):
        part, v, i, a = SF.recurrent_lif(piece, weight, **options, v_init=v, i_init=i, a_init=a, s_init=s)
        s = part[-1]
        pieces.append(part)
    for actual, expected in zip((torch.cat(pieces), v, i, a), whole, strict=True):
        assert torch.equal(actual, expected)
    if dtype == torch.float64:
        gradient = torch.randn(x.shape, generator=draw, dtype=dtype).to(device)
        of_pieces, of_whole = (torch.autograd.grad(s, (x, weight), gradient) for s in (torch.cat(pieces), whole[0]))
        torch.testing.assert_close(of_pieces, of_whole, rtol=0, atol=1e-11)


def test_bits_do_not_depend_on_threads_or_on_the_layers_beside(draw, threads):
    N = 40
    x, weight = currents(draw, 10, (70, N), torch.float32), torch.randn(N, N, generator=draw) / 4
    gradient = torch.randn(x.shape, generator=draw)

    def run(x, gradient):
        x = x.clone().requires_grad_()
        outputs = SF.recurrent_lif(x, weight, 0.9, beta=0.1)
        return *(o.detach() for o in outputs), torch.autograd.grad(outputs[0], x, gradient)[0]

    threads(1)
    together = run(x, gradient)
    threads(2)
    assert all(map(torch.equal, run(x, gradient), together))
    alone = run(x[:, 3:4], gradient[:, 3:4])
    for one, all_ in zip(alone, together):
        assert torch.equal(one, all_[:, 3:4] if all_.dim() == 3 else all_[3:4])


@pytest.mark.parametrize("dtype", DTYPES)
def test_neurons_that_lead_to_themselves_do_not_see_each_other(draw, threads, dtype):
    """They are taken in pieces that end within a layer: the bits are those of each layer, and of each neuron, by itself."""
    N = 700
    x, weight, bias = currents(draw, 10, (3, N), dtype), matrix(draw, N, torch.float32, "cpu", True), matrix(draw, N, torch.float32, "cpu", True)
    gradient = torch.randn(x.shape, generator=draw).to(dtype)

    def run(part, layers):
        own = x[:, layers, part].clone().requires_grad_()
        outputs = SF.recurrent_lif(own, weight[part], 0.9, bias=bias[part], beta=0.1)
        return *(o.detach() for o in outputs), torch.autograd.grad(outputs[0], own, gradient[:, layers, part])[0]

    threads(2)
    whole = run(slice(None), slice(None))
    for part, layers in ((slice(690, None), slice(None)), (slice(5, 6), slice(1, 2)), (slice(None), slice(2, 3))):
        for one, all_ in zip(run(part, layers), whole, strict=True):
            assert torch.equal(one, all_[..., layers, part])


def test_it_learns_a_rhythm_that_needs_its_weights():
    """Input at the first step alone; the target is to fire every other step, which decaying neurons without weights cannot."""
    torch.manual_seed(0)
    x = torch.zeros(12, 1, 16)
    x[0] = 2.0
    target = torch.tensor([1.0, 0.0] * 6).view(12, 1, 1)
    layer = snn.RecurrentLIF(16, 0.5, bias=True, learn_decays=True)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    losses = []
    for _ in range(150):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0], f"from {losses[0]:.3f} to {losses[-1]:.3f}"


def test_what_is_learned_and_what_it_starts_with():
    layer = snn.RecurrentLIF(6, 0.8, bias=True, learn_decays=True, current_decay=0.5, beta=0.1)
    assert set(layer.state_dict()) == {"weight", "bias", "decay_logit", "current_decay_logit", "adaptation_decay_logit"}
    assert layer.weight.shape == (6, 6) and layer.weight.abs().max() <= 1 / 6**0.5
    assert set(snn.RecurrentLIF(6, learn_decays=True, all_to_all=False).state_dict()) == {"weight", "decay_logit"}
    layer(0.4 + torch.rand(30, 4, 6)).square().mean().backward()
    for name, parameter_ in layer.named_parameters():
        assert parameter_.grad.abs().max() > 0, f"{name} has no gradient"


def test_what_cannot_be_is_named():
    x = torch.rand(3, 2, 4)
    with pytest.raises(ValueError, match=r"expected weight to have shape \(4, 4\) or \(4,\) for the neurons of x, got \(4, 5\)"):
        SF.recurrent_lif(x, torch.ones(4, 5))
    with pytest.raises(ValueError, match=r"expected bias to have shape \(4,\) for the neurons of x, got \(2, 4\)"):
        SF.recurrent_lif(x, torch.ones(4), bias=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"expected x to have shape \(T, ..., N\), time steps first and neurons last, got \(3,\)"):
        SF.recurrent_lif(torch.rand(3), torch.ones(1))
    with pytest.raises(TypeError, match="expected weight to be a tensor, got float"):
        SF.recurrent_lif(x, 0.5)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'V'. Hint: here that is weight=, of shape \(N,\)"):
        SF.recurrent_lif(x, torch.ones(4), V=1.0)


# --- other libraries --------------------------------------------------------------------------------------------------------
#
# Weights and inputs are multiples of 1/64, and sums of them are exact, so that it makes no difference in which order a library's matrix
# product adds them.


def on_grid(draw, T=20, batch=3, N=16, low=-64, high=128):
    x = torch.randint(low, high, (T, batch, N), generator=draw) / 64
    return x, matrix(draw, N, torch.float32, "cpu"), matrix(draw, N, torch.float32, "cpu", True), torch.randn(T, batch, N, generator=draw)


def assert_same(theirs, ours, x, weights, learned):
    """``theirs`` and ``ours``: x -> spikes. ``learned``: pairs of parameters, theirs and ours."""
    found = []
    for neuron, mine in ((theirs, 0), (ours, 1)):
        current = x.clone().requires_grad_()
        spikes = neuron(current)
        found.append((spikes.detach(), torch.autograd.grad((spikes * weights).sum(), [current, *(pair[mine] for pair in learned)])))
    (spikes, gradients), (our_spikes, our_gradients) = found
    assert 0.05 < spikes.mean() < 0.95, f"they fire in {spikes.mean():.0%} of the steps"
    assert torch.equal(spikes, our_spikes), f"{(spikes != our_spikes).sum()} spikes differ"
    for gradient, our_gradient in zip(gradients, our_gradients, strict=True):
        # Sums of thousands of float32 terms of either sign, each of which has passed through up to 20 matrices.
        assert (gradient - our_gradient).abs().max() <= 1e-4 * gradient.abs().max()


@pytest.mark.parametrize("all_to_all", [False, True])
@pytest.mark.parametrize("mechanism, reset, timing", [("subtract", "subtract", "late"), ("zero", "to", "late_with_input"), ("zero", "to", "now")])
def test_snntorch_rleaky(draw, mechanism, reset, timing, all_to_all):
    snntorch = pytest.importorskip("snntorch")
    x, weight, bias, weights = on_grid(draw)
    given = dict(all_to_all=True, linear_features=16) if all_to_all else dict(all_to_all=False, V=bias.clone())
    cell = snntorch.RLeaky(0.5, **given, reset_mechanism=mechanism, reset_delay=timing != "now", learn_beta=True)
    if all_to_all:
        cell.recurrent.weight.data, cell.recurrent.bias.data = weight.clone(), bias.clone()
    our_weight, our_bias, beta = (value.clone().requires_grad_() for value in (weight if all_to_all else bias, bias, torch.tensor(0.5)))

    def theirs(x):
        spk, mem = torch.zeros(3, 16), torch.zeros(3, 16)
        spikes = []
        for current in x.unbind():
            spk, mem = cell(current, spk, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    def ours(x):
        return SF.recurrent_lif(
            x, our_weight, beta, bias=our_bias if all_to_all else None, reset=reset, reset_timing=timing, strict=True,
        )[0]  # fmt: skip

    learned = [(cell.beta, beta)]
    learned += [(cell.recurrent.weight, our_weight), (cell.recurrent.bias, our_bias)] if all_to_all else [(cell.V, our_weight)]
    assert_same(theirs, ours, x, weights, learned)


def test_snntorch_rsynaptic(draw):
    snntorch = pytest.importorskip("snntorch")
    x, weight, bias, weights = on_grid(draw)
    cell = snntorch.RSynaptic(0.5, 0.5, linear_features=16, learn_alpha=True)
    cell.recurrent.weight.data, cell.recurrent.bias.data = weight.clone(), bias.clone()
    our_weight, alpha = weight.clone().requires_grad_(), torch.tensor(0.5, requires_grad=True)

    def theirs(x):
        spk, syn, mem = (torch.zeros(3, 16) for _ in range(3))
        spikes = []
        for current in x.unbind():
            spk, syn, mem = cell(current, spk, syn, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    def ours(x):
        return SF.recurrent_lif(x, our_weight, 0.5, bias=bias, current_decay=alpha, reset_timing="late", strict=True)[0]

    assert_same(theirs, ours, x, weights, [(cell.recurrent.weight, our_weight), (cell.alpha, alpha)])


def test_norse_lif_recurrent(draw):
    """Its weights of the input stand before ours; rates of 0.5 and 0.25 keep the numbers on the grid for some steps."""
    norse = pytest.importorskip("norse.torch")
    x, weight, _, weights = on_grid(draw, low=0, high=192)
    p = norse.LIFParameters(tau_mem_inv=torch.tensor(500.0), tau_syn_inv=torch.tensor(250.0))
    layer = norse.LIFRecurrent(16, 16, p=p, input_weights=torch.eye(16), recurrent_weights=weight.clone().requires_grad_(),
                               autapses=True)  # fmt: skip
    our_weight = weight.clone().requires_grad_()

    def ours(x):
        return SF.recurrent_lif(
            x, our_weight, 0.5, current_decay=0.75, order="input_membrane_decay", current_scale=0.5, reset="to", strict=True,
            detach_reset=True, surrogate=surrogate.FastSigmoid(1.0),
        )[0]  # fmt: skip

    assert_same(lambda x: layer(x)[0], ours, x, weights, [(layer.recurrent_weights, our_weight)])


@pytest.mark.parametrize("tau_syn", [None, 5.0])
def test_sinabs_lif_recurrent(draw, tau_syn):
    layers, activation = pytest.importorskip("sinabs.layers"), pytest.importorskip("sinabs.activation")
    x, weight, bias, weights = on_grid(draw)
    connection = torch.nn.Linear(16, 16)
    connection.weight.data, connection.bias.data = weight.clone(), bias.clone()
    layer = layers.LIFRecurrent(
        5.0, connection, tau_syn, spike_fn=activation.SingleSpike, norm_input=False,
        surrogate_grad_fn=lambda v, threshold: ((v - threshold).abs() <= 0.5).to(v.dtype),
    )  # fmt: skip
    taus = [torch.tensor(5.0, requires_grad=True) for _ in range(2)]
    our_weight = weight.clone().requires_grad_()

    def theirs(x):
        layer.reset_states()
        return layer(x.transpose(0, 1)).transpose(0, 1)

    def ours(x):
        decay, current_decay = (torch.exp(-1 / tau) for tau in taus)
        synapse = dict(current_decay=current_decay, order="input_decay_membrane") if tau_syn else {}
        # They have no bias before the first spikes.
        first = torch.zeros_like(x)
        first[0] = bias
        return SF.recurrent_lif(x - first, our_weight, decay, bias=bias, surrogate=surrogate.Rectangle(1.0), **synapse)[0]

    learned = [(connection.weight, our_weight), (layer.tau_mem, taus[0])] + ([(layer.tau_syn, taus[1])] if tau_syn else [])
    assert_same(theirs, ours, x, weights, learned)
