"""spikeops.fuse on modules with a forward of their own that do not, or not always, give the batch norm's result to the neurons and nobody else:
they are named with the reason, and go on as they were."""

import copy
import re
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import spikeops
import spikeops.nn as snn

X = torch.randn(4, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
REFUSED = {}


def refused(reason):
    def add(kind):
        REFUSED[kind.__name__] = (kind, reason)
        return kind

    return add


class Layer(nn.Module):
    calls = 0

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.neurons = (
            snn.TimeDistributed(nn.Conv2d(2, 5, 3, padding=1)), snn.TimeDistributed(nn.BatchNorm2d(5)), snn.LIF(0.7)
        )  # fmt: skip
        self.log = []


class Known(Layer):
    def forward(self, x):
        return self.neurons(self.norm(self.conv(x)))


@refused("2 others take its result: neurons, mean")
class TwoTakeIt(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) + y.mean()


@refused("2 others take its result: add_, neurons")
class InPlace(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        y.add_(1)
        return self.neurons(y)


@refused("what follows it is add")
class InPlaceByOperator(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        y += 1
        return self.neurons(y)


@refused("its result is put away")
class PutAway(Layer):
    def forward(self, x):
        self.y = self.norm(self.conv(x))
        return self.neurons(self.y)


@refused("its result is put away")
class PutInAList(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        self.log.append(y)
        return self.neurons(y)


@refused("something is done between it and what takes its result, neurons")
class Between(Layer):
    def forward(self, x):
        current = self.conv(x)
        y = self.norm(current)
        current.mul_(2)
        return self.neurons(y)


@refused("are called more than once")
class NormTwice(Layer):
    def forward(self, x):
        return self.neurons(self.norm(self.norm(self.conv(x))))


@refused("are called more than once")
class NeuronsTwice(Layer):
    def forward(self, x):
        return self.neurons(x).sum() + self.neurons(self.norm(self.conv(x)))


@refused("decides by the values or sizes of its input, or walks along it")
class Steps(Layer):
    def forward(self, x):
        return torch.cat([self.neurons(self.norm(self.conv(x[t : t + 1]))) for t in range(x.shape[0])])


@refused("decides by the values or sizes of its input, or walks along it")
class ByValue(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if x.sum() > 0 else self.neurons(2 * y)


@refused("forward decides by `skip is not None`")
class ByNone(Layer):
    def forward(self, x, skip=None):
        y = self.norm(self.conv(x))
        if skip is not None:
            return self.neurons(y)
        return self.neurons(2 * y)


def doubled(y, skip=None):
    return 2 * y if skip is None else y


@refused("doubled decides by `skip is None`")
class ByNoneInAHelper(Layer):
    def forward(self, x, skip=None):
        return self.neurons(doubled(self.norm(self.conv(x)), skip))


@refused("forward decides by `skip is None`")
class ByNoneInATable(Layer):
    def forward(self, x, skip=None):
        y = self.norm(self.conv(x))
        return self.neurons({False: y, True: 2 * y}[skip is None])


@refused("forward decides by `isinstance(x, torch.Tensor)`")
class ByType(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(2 * y) if isinstance(x, torch.Tensor) else self.neurons(y)


@refused("it does not do the same in training and in evaluation")
class ByMode(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if self.training else self.neurons(2 * y)


@refused("decides by `self.conv.training`, the mode of a module in it")
class ByModeOfAnother(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if self.conv.training else self.neurons(2 * y)


@refused("forward decides by `torch.is_grad_enabled()`")
class ByGradients(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if torch.is_grad_enabled() else self.neurons(2 * y)


@refused("forward decides by `torch.rand(1) < 2`")
class ByChance(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if torch.rand(1) < 2 else self.neurons(2 * y)


SETTING = True


@refused("forward decides by `SETTING`")
class ByGlobal(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if SETTING else self.neurons(2 * y)


@refused("does something else once it is replaced")
class ByKind(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(y) if isinstance(self.norm.module, nn.BatchNorm2d) else self.neurons(2 * y)


@refused("decides by `len(self.log) > 2`, a list")
class ByLog(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.neurons(2 * y) if len(self.log) > 2 else self.neurons(y)


@refused("it decides by calls, and sets it")
class ByCalls(Layer):
    def forward(self, x):
        self.calls += 1
        y = self.norm(self.conv(x))
        return self.neurons(y) if self.calls < 3 else self.neurons(2 * y)


@refused("forward has a `try` statement")
class Tried(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        try:
            y = y if float(y.mean().detach()) < 0 else 2 * y
        except TypeError:
            y = 3 * y
        return self.neurons(y)


@refused("it turns gradients off")
class WithoutGradients(Layer):
    def forward(self, x):
        with torch.no_grad():
            y = self.norm(self.conv(x))
        return self.neurons(y)


@refused("it turns gradients off")
class Switching(Layer):
    def forward(self, x):
        y = self.norm(self.conv(x))
        torch.set_grad_enabled(False)
        spikes = self.neurons(y)
        torch.set_grad_enabled(True)
        return spikes


@refused("has a `with` statement")
class Decorated(Layer):
    @torch.autocast("cpu", enabled=False)
    def forward(self, x):
        return self.neurons(self.norm(self.conv(x)))


@refused("the forward of Checkpointed is not known")
class Checkpointed(Layer):
    def forward(self, x):
        return self.neurons(checkpoint(self.norm, self.conv(x), use_reentrant=False))


@refused("what follows it, neurons, is called by another function")
class InParts(Layer):
    def current(self, x):
        return self.norm(self.conv(x))

    def forward(self, x):
        return self.neurons(self.current(x))


@refused("OtherMethod.current seems to call it or its neurons, too")
class OtherMethod(Known):
    def current(self, x):
        return self.norm(self.conv(x))


@refused("OtherMethodByLoop.current seems to call it")
class OtherMethodByLoop(Known):
    def current(self, x):
        for layer in (self.conv, self.norm):
            x = layer(x)
        return x


@refused("OtherMethodByFunction.current seems to call it")
class OtherMethodByFunction(Known):
    def current(self, x):
        return checkpoint(self.norm, self.conv(x), use_reentrant=False)


@refused("OtherMethodOfAChain.current seems to call it")
class OtherMethodOfAChain(nn.Sequential):
    def __init__(self):
        super().__init__(*Layer().children())

    def current(self, x):
        for layer in self[:2]:
            x = layer(x)
        return x


@refused("neurons, which follows it, is given more than its result")
class Given(Layer):
    def forward(self, x, v_init=None):
        return self.neurons(self.norm(self.conv(x)), v_init)


@refused("forward sets self.neurons.threshold")
class Setting(Layer):
    def forward(self, x):
        self.neurons.threshold = 0.5
        return self.neurons(self.norm(self.conv(x)))


@refused("forward calls self.norm.module.eval")
class Freezing(Layer):
    def forward(self, x):
        self.norm.module.eval()
        return self.neurons(self.norm(self.conv(x)))


@refused("does something else once it is replaced")
class Reading(Layer):
    def forward(self, x):
        return self.neurons(self.norm(self.conv(x))) * self.neurons.threshold


@refused("does something else once it is replaced")
class Alias(Layer):
    def __init__(self):
        super().__init__()
        self.same = self.neurons

    def forward(self, x):
        return self.same(self.norm(self.conv(x)))


@refused("it calls a LIF that PyTorch does not know to be in it")
class NotHeld(Layer):
    def __init__(self):
        super().__init__()
        self.log.append(snn.LIF(0.7))

    def forward(self, x):
        return self.log[0](self.norm(self.conv(x)))


@refused("it is not in snn.TimeDistributed: its batch would be the time steps")
class Viewed(Layer):
    def forward(self, x):
        return self.neurons(self.norm.module(self.conv(x).flatten(0, 1)).view(4, 3, 5, 6, 6))


@refused("what follows it is unflatten")
class UnfoldedTwice(Layer):
    def forward(self, x):
        return self.neurons(self.norm(self.conv(x)).unflatten(0, (2, 2)))


@refused("a call of it does not only call its forward")
class Calling(Layer):
    def __call__(self, x):
        return 2 * super().__call__(x)

    def forward(self, x):
        return self.neurons(self.norm(self.conv(x)))


@refused("are called more than once")
class FromOutside(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Known()

    def forward(self, x):
        return self.block(x) + self.block.norm(self.block.conv(x))


@refused("FromUnknownOutside.forward seems to call it")
class FromUnknownOutside(FromOutside):
    def forward(self, x):
        return super().forward(x) if x.sum() < 1e9 else x


@refused("it is used in more than one place")
class Shared(FromOutside):
    def __init__(self):
        super().__init__()
        self.other = self.block

    def forward(self, x):
        return self.block(x) + self.other(2 * x)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_left_and_named(name):
    kind, reason = REFUSED[name]
    torch.manual_seed(0)
    model = kind().double()
    before, attributes = str(model), copy.deepcopy(vars(model))
    report = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused = spikeops.fuse(model, inplace=True, report=report)
    assert str(fused) == before and report and all(reason in pair.reason or "used in more" in pair.reason for pair in report), report
    assert {key: str(value) for key, value in vars(model).items()} == {key: str(value) for key, value in attributes.items()}, "marks of the trace"
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.warns(UserWarning, match=f"(?s)fuse: some batch norms are as they were.*{re.escape(reason)}"):
        spikeops.fuse(model)
