"""What NIR or spikeops cannot express is refused by the names of modules and nodes, and nothing is made of the rest."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.surrogate import ATan

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")
from spikeops.nir import from_nir, to_nir  # noqa: E402

TO = dict(reset="to", strict=True)


# --- export ---------------------------------------------------------------------------------------------------------------------


class MyLIF(snn.LIF):
    def forward(self, x):
        return 1 - super().forward(x)


class Own(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.layer, self.other, self.constant, self.doing = nn.Linear(6, 6), nn.Linear(6, 6), nn.Parameter(torch.ones(6)), forward

    def forward(self, x, gain=2.0):
        return self.doing(self, x, gain)


def hooked():
    module = nn.Linear(6, 6)
    module.register_forward_hook(lambda module, args, out: out + 1)
    return module


def patched():
    module = nn.Linear(6, 6)
    module.forward = lambda x: x
    return module


def changed_in_place(h, layer):
    changed = h.add_(layer(h))
    return layer(h) + changed


REFUSED = {
    "reset must be 'to', and is 'subtract'": lambda: snn.LIF(strict=True),
    "reset must be 'to', and is 'none'": lambda: snn.IF(reset="none", strict=True),
    "strict must be True": lambda: snn.LIF(reset="to"),
    "reset_timing must be 'now'": lambda: snn.LIF(reset_timing="late", **TO),
    "v_min must be None, and is -1": lambda: snn.LIF(v_min=-1.0, **TO),
    "max_spikes must be 1, and is 3": lambda: snn.LIF(max_spikes=3, **TO),
    "max_spikes must be 1, and is None": lambda: snn.IF(max_spikes=None, **TO),
    "return_trace must be False": lambda: snn.LIF(return_trace=True, **TO),
    "return_state must be False": lambda: snn.LIF(return_state=True, **TO),
    "decays must be below 1": lambda: snn.CubaLIF(0.5, current_decay=1.0, **TO),
    "order must be 'decay_input_membrane'": lambda: snn.CubaLIF(order="input_decay_membrane", **TO),
    "and is 'membrane_decay_input'": lambda: snn.CubaLIF(order="membrane_decay_input", **TO),
    "reset_timing must be 'now', and is 'late_with_input'": lambda: snn.CubaLIF(reset_timing="late_with_input", **TO),
    "beta must be 0": lambda: snn.RecurrentLIF(6, beta=0.5, **TO),
    "has 5 neurons, and an input of shape": lambda: snn.RecurrentLIF(5, **TO),
    "threshold has shape": lambda: snn.LIF(0.5, torch.ones(5), **TO),
    "it .MyLIF.: is not among the modules": lambda: MyLIF(**TO),
    "it .ALIF.: is not among the modules": lambda: snn.ALIF(),
    "it .ReLU.: is not among the modules": nn.ReLU,
    "it .BatchNorm1d.: is not among the modules that can be exported: NIR has no batch-norm; fold it": lambda: nn.BatchNorm1d(6),
    "it .BatchNormLIF.: is not among .*; export the network as it was before spikeops.fuse": lambda: snn.BatchNormLIF(6),
    "ParametrizedLinear.: is not among .*remove_parametrizations": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    "it .Linear.: has forward hooks": hooked,
    "it .Linear.: has a forward that is not its class's": patched,
    "does not take an input of shape": lambda: nn.Linear(5, 6),
    "start_dim=1 flattens time or batch": lambda: nn.Flatten(),
    "it .LIF.: is within a TimeDistributed": lambda: snn.TimeDistributed(snn.LIF(**TO)),
    "its forward uses 'mul'": lambda: Own(lambda self, x, gain: self.layer(x) * gain),
    "its forward uses 'constant'": lambda: Own(lambda self, x, gain: self.layer(x) + self.constant),
    "its forward uses 'add'": lambda: Own(lambda self, x, gain: self.layer(x) + 1.0),
    "its forward uses 'relu'": lambda: Own(lambda self, x, gain: torch.relu(self.layer(x))),
    "adds a value to itself": lambda: Own(lambda self, x, gain: self.layer(x) + self.layer(x).add(x).add(x)),
    "adds in place to a value that is used elsewhere": lambda: Own(lambda self, x, gain: changed_in_place(self.layer(x), self.other)),
    "it .Own.: adds in place": lambda: Own(lambda self, x, gain: x.add_(self.layer(x))),
    "its forward uses 'output'": lambda: Own(lambda self, x, gain: (self.layer(x), x)),
    "cannot be traced by torch.fx": lambda: Own(lambda self, x, gain: self.layer(x) if x.sum() > 0 else x),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_has_no_node_is_refused_by_name(why):
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 6))
    model.add_module("it", REFUSED[why]())
    with pytest.raises(ValueError, match=rf"to_nir: NIR cannot express\n  it(_.*)? \(.*{why}|to_nir(.|\n)*\n  {why}"):
        to_nir(model, (4,))


def test_maps():
    for module, why in (
        (nn.MaxPool2d(2), "NIR has no maximum"), (nn.AvgPool2d(2, ceil_mode=True), "ceil_mode must be False"),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), "count_include_pad"), (nn.AvgPool2d(2, divisor_override=3), "divisor_override"),
        (nn.LPPool2d(2, 2), "norm_type must be 1"), (nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), "padding_mode"),
        (nn.Linear(6, 3), "acts on the last axis"), (nn.ConvTranspose2d(1, 1, 3), "is not among the modules"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"the model \(\w+\): .*{why}"):
            to_nir(snn.TimeDistributed(module), (1, 6, 6))
    with pytest.raises(ValueError, match="is it in a TimeDistributed"):
        to_nir(nn.Conv1d(1, 2, 3), (1, 6, 6))


def test_all_that_is_wrong_is_said_at_once():
    model = nn.Sequential(snn.LIF(), nn.Linear(4, 6), snn.CubaLIF(reset_timing="late", strict=True))
    with pytest.raises(ValueError) as caught:
        to_nir(model, (4,))
    said = str(caught.value).splitlines()
    assert len(said) == 5 and [line.split()[0] for line in said[1:]] == ["0", "0", "2", "2"]


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), snn.LIF())
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError):
        to_nir(model, (4,))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("arguments, error, why", [
    (dict(sample=()), ValueError, "shape of one time step"), (dict(sample=4), TypeError, "a tensor, or a shape"),
    (dict(sample=(0,)), ValueError, "shape of one time step"), (dict(sample=(2.5,)), TypeError, "a tensor, or a shape"),
    (dict(sample=torch.ones(2, 4)), ValueError, r"\(T, B, ...\)"), (dict(sample=torch.ones(2, 3, 4).long()), ValueError, "int64"),
    (dict(dt=0), ValueError, "above 0"), (dict(dt=float("nan")), ValueError, "above 0"), (dict(dt="1"), TypeError, "a number of seconds"),
    (dict(dt=True), TypeError, "a number of seconds"), (dict(dialect="lava"), ValueError, "one of 'nir', 'snntorch'"),
    (dict(dialect=None), ValueError, "one of 'nir'"), (dict(model=torch.relu), TypeError, "a torch.nn.Module"),
])  # fmt: skip
def test_wrong_arguments_of_to_nir(arguments, error, why):
    with pytest.raises(error, match=f"to_nir: .*{why}"):
        to_nir(**(dict(model=nn.Linear(4, 2), sample=(4,)) | arguments))


# --- import ---------------------------------------------------------------------------------------------------------------------


def lif(n=4, **others):
    given = dict(tau=np.full(n, 1e-3), r=np.ones(n), v_leak=np.zeros(n), v_threshold=np.ones(n), v_reset=np.zeros(n))
    return nir.LIF(**(given | others))


def graph(edges, shape=(4,), **nodes):
    shape = shape and np.array(shape)
    ends = {"input": nir.Input(shape), "output": nir.Output(shape)}
    return nir.NIRGraph(ends | nodes, edges, type_check=False)


def chain(*nodes, shape=(4,)):
    names = ["input", *(f"n{k}" for k in range(len(nodes))), "output"]
    return graph(list(zip(names, names[1:])), shape, **dict(zip(names[1:], nodes)))


def square(n=4):
    return nir.Linear(np.eye(n))


def convolution(**others):
    given = dict(input_shape=None, weight=np.ones((2, 1, 3, 3)), stride=1, padding=0, dilation=1, groups=1, bias=np.ones(2))
    return nir.Conv2d(**(given | others))


def doubled(times):
    """A subgraph that is there twice in one that is there twice, and so on: 2 ** times nodes."""
    made = lif()
    for _ in range(times):
        made = chain(made, made)
    return made


def forked(times):
    made = lif()
    for _ in range(times):
        made = graph([("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")], a=made, b=made)
    return made


LOOP = [("input", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "output")]
GRAPHS = {
    r"the cycle 'a' -> |the cycle 'b' -> |the cycle 'c' -> ": lambda: graph(LOOP, a=lif(), b=square(), c=lif()),
    r"the cycle 'a' -> 'a' cannot": lambda: graph([("input", "a"), ("a", "a"), ("a", "output")], a=lif()),
    "recurrent connections can be from LIF or CubaLIF": lambda: graph(
        [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")], a=nir.IF(np.ones(4), np.ones(4)), w=square()
    ),
    "has two recurrent weights, 'v' and 'w'": lambda: graph(
        [("input", "a"), ("a", "v"), ("v", "a"), ("a", "w"), ("w", "a"), ("a", "output")], a=lif(), v=square(), w=square()
    ),
    r"not on a way from input to output: 'b'": lambda: graph([("input", "a"), ("a", "output"), ("a", "b")], a=lif(), b=square()),
    "not on a way from input to output: .*'input'": lambda: graph([("a", "output")], a=lif()),
    "the edge from 'a' to 'q' leads to no node": lambda: graph([("input", "a"), ("a", "q"), ("a", "output")], a=lif()),
    "the edge from 'input' to 'a' is there twice": lambda: graph([("input", "a"), ("input", "a"), ("a", "output")], a=lif()),
    "leads into the input": lambda: graph([("input", "a"), ("a", "output"), ("a", "input")], a=lif()),
    "expected one Input node, got 2: input, other": lambda: graph(
        [("input", "a"), ("other", "a"), ("a", "output")], other=nir.Input(np.array([4])), a=lif()
    ),
    "expected one Output node, got 2": lambda: graph(
        [("input", "a"), ("a", "output"), ("a", "more")], more=nir.Output(np.array([4])), a=lif()
    ),
    r"n0 \(Delay\): there is no module": lambda: chain(nir.Delay(np.ones(4))),
    r"n0 \(Threshold\): there is no module": lambda: chain(nir.Threshold(np.ones(4))),
    r"n0 \(LIF\): decay would be -9: time constants must be positive and at least dt": lambda: chain(lif(tau=np.full(4, 1e-5))),
    r"n0 \(LIF\): decay would be": lambda: chain(lif(tau=np.full(4, -1.0))),
    r"n0 \(LIF\): decay is not finite": lambda: chain(lif(tau=np.full(4, 0.0))),
    r"n0 \(LIF\): input_scale is not finite": lambda: chain(lif(r=np.full(4, np.inf))),
    r"n0 \(LIF\): threshold is not finite": lambda: chain(lif(v_threshold=np.full(4, np.nan))),
    r"n0 \(LIF\): v_reset must be the same for all neurons, and is from 0 to 3": lambda: chain(lif(v_reset=np.arange(4.0))),
    r"n0 \(LIF\): v_rest must be the same": lambda: chain(lif(v_leak=np.arange(4.0))),
    r"n0 \(LIF\): tau must be an array of numbers": lambda: chain(lif(tau=np.array(["1"] * 4))),
    r"n0 \(LIF\): gets an input of shape \(4,\), but its numbers have shape \(5,\)": lambda: chain(lif(5)),
    r"n0 \(Linear\): gets an input of shape \(4,\), but its weights have shape \(5, 5\)": lambda: chain(square(5)),
    r"n0 \(Linear\): weight must have 2 axes": lambda: chain(nir.Linear(np.ones((2, 3, 4)))),
    r"n0 \(Linear\): weight is not finite": lambda: chain(nir.Linear(np.full((4, 4), np.nan))),
    r"n0 \(Affine\): bias must have shape \(4,\), and has \(3,\)": lambda: chain(nir.Affine(np.eye(4), np.ones(3))),
    r"n0 \(Conv2d\): bias must have shape": lambda: chain(nir.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.ones(1)), shape=(1, 5, 5)),
    r"n0 \(Conv2d\): stride must be 2 whole numbers, 1 or more": lambda: chain(
        nir.Conv2d(None, np.ones((2, 1, 3, 3)), (0, 1), 0, 1, 1, np.ones(2)), shape=(1, 5, 5)
    ),
    r"n0 \(Conv2d\): gets an input of shape \(4,\), which has another number of axes": lambda: chain(
        nir.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.ones(2))
    ),
    r"n0 \(Conv2d\): gets an input of shape \(2, 5, 5\), .*channels": lambda: chain(
        nir.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.ones(2)), shape=(2, 5, 5)
    ),
    r"n0 \(SumPool2d\): kernel_size must be 2 whole numbers": lambda: chain(
        nir.SumPool2d(np.array([2.5, 2]), np.array([2, 2]), np.array([0, 0])), shape=(1, 4, 4)
    ),
    "its recurrent weights 'w' have shape|its recurrent weights 'w' shape": lambda: graph(
        [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")], a=lif(), w=square(5)
    ),
    r"an edge leads into the input 's\.input'": lambda: graph(
        [("input", "s"), ("s", "output")], s=graph([("input", "a"), ("a", "output"), ("a", "input")], a=lif())
    ),
    r"or out of the output 's\.output'": lambda: graph(
        [("input", "s"), ("s", "output")], s=graph([("input", "a"), ("a", "output"), ("output", "a")], a=lif())
    ),
    r"its output: its inputs have different shapes, or another one than it says, \(1,\) and \(4,\)": lambda: graph(
        [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")], a=square(), b=nir.Linear(np.ones((1, 4)))
    ),
    r"another one than it says, \(3,\) and \(4,\)": lambda: chain(nir.Linear(np.ones((3, 4)))),
    r"n0 \(Conv2d\): .*another one than it says, \(1, 5, 5\) and \(1, 6, 6\)": lambda: chain(convolution(input_shape=(6, 6)), shape=(1, 5, 5)),
    r"n0 \(Flatten\): .*another one than it says, \(1, 5, 5\) and \(1, 6, 6\)": lambda: chain(
        nir.Flatten({"input": np.array([1, 6, 6])}, 0, -1), shape=(1, 5, 5)
    ),
    r"n0 \(Flatten\): gets an input of shape \(2, 3, 4\), of which start_dim and end_dim are no axes": lambda: chain(
        nir.Flatten(None, -4, -1), shape=(2, 3, 4)
    ),
    "n0 .Flatten.: .*, of which start_dim and end_dim": lambda: chain(nir.Flatten(None, 0, 3), shape=(2, 3, 4)),
    "n0 .Flatten.: start_dim must be 0 or more where no shape": lambda: chain(nir.Flatten(None, -2, -1), shape=None),
    r"its input: its shape must be whole numbers, 1 or more, and is array\(\[4\.5\]\)": lambda: chain(lif(), shape=(4.5,)),
    "its input: its shape must be whole numbers": lambda: chain(lif(), shape=(0,)),
    r"n0 \(LIF\): gets an input of shape \(4, 3, 4\), but its numbers have shape \(4,\)": lambda: chain(lif(), shape=(4, 3, 4)),
    r"n0 \(Scale\): gets an input of shape \(3, 4\), but its numbers have shape \(4,\)": lambda: chain(nir.Scale(np.ones(4)), shape=(3, 4)),
    r"n0 \(LIF\): threshold is not finite in torch.float32": lambda: chain(lif(v_threshold=np.array([1, 1, 1, 1e300]))),
    r"n0 \(Linear\): weight holds no numbers": lambda: chain(nir.Linear(np.ones((0, 4)))),
    r"n0 \(AvgPool2d\): stride must be 2 whole numbers": lambda: chain(nir.AvgPool2d(*np.array([[2, 2], [2, 2**40], [0, 0]])), shape=(1, 4, 4)),
    "edges must be pairs of names": lambda: graph([("input", "a", "output")], a=lif()),
    "more than 100000 nodes when its subgraphs are put in their place": lambda: doubled(40),
    "more than 100000 edges when its subgraphs are put in their place": lambda: chain(forked(9), forked(9)),
    "its inputs have different shapes": lambda: graph(
        [("input", "a"), ("input", "b"), ("a", "c"), ("b", "c"), ("c", "output")], a=square(), b=nir.Linear(np.ones((3, 4))), c=lif()
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", GRAPHS)
def test_graphs_that_cannot_be_expressed_are_refused_by_name(why):
    with pytest.raises(ValueError, match=f"^from_nir: the graph(.|\n)*({why})"):
        from_nir(GRAPHS[why]())


def test_a_graph_within_itself():
    within = graph([("input", "a"), ("a", "output")], a=lif())
    within.nodes["a"] = within
    with pytest.raises(ValueError, match="within themselves"):
        from_nir(within)


def test_every_node_is_named_at_once():
    with pytest.raises(ValueError) as caught:
        from_nir(chain(nir.Delay(np.ones(4)), lif(), lif(tau=np.full(4, 1e-5)), nir.Threshold(np.ones(4))))
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["n0", "n2", "n3"]


def test_the_graph_is_left_as_it_was():
    given = graph([("input", "rnn"), ("rnn", "output")], rnn=to_nir(nn.Sequential(snn.RecurrentLIF(4, 0.5, **TO)), (4,)))
    edges, names = list(given.edges), list(given.nodes)
    from_nir(given)
    assert (given.edges, list(given.nodes)) == (edges, names) and isinstance(given.nodes["rnn"], nir.NIRGraph)


def test_hostile_names_are_only_names():
    names = ["input", "forward", "__class__", "a/b.c", "_parameters", "", "a_b_c", "training", "output"]
    again = from_nir(graph(list(zip(names, names[1:])), **{name: square() for name in names[1:-1]}))
    assert len(again) == 7 and again(torch.ones(2, 1, 4)).shape == (2, 1, 4)


@pytest.mark.parametrize("arguments, error, why", [
    (dict(graph=5), TypeError, "an nir.NIRGraph or the path"), (dict(dt=-1.0), ValueError, "above 0"), (dict(dialect="Norse"), ValueError, "one of"),
    (dict(surrogate="atan"), TypeError, "spikeops.surrogate"), (dict(detach_reset=1), TypeError, "detach_reset"),
    (dict(dtype=torch.int32), TypeError, "floating type"), (dict(dtype="float32"), TypeError, "floating type"),
])  # fmt: skip
def test_wrong_arguments_of_from_nir(arguments, error, why):
    with pytest.raises(error, match=f"from_nir: .*{why}"):
        from_nir(**(dict(graph=chain(lif())) | arguments))


def test_surrogates_are_given():
    (neurons,) = from_nir(chain(lif()), surrogate=ATan(3.0), detach_reset=True)
    assert neurons.options.surrogate == ATan(3.0) and neurons.options.detach_reset


@pytest.mark.parametrize("missing", ["nir", "nirtorch"])
def test_without_the_packages(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'needs the package {missing} .*pip install "spikeops\[nir\]"'):
        to_nir(nn.Linear(4, 2), (4,))
