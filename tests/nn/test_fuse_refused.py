"""spikeops.fuse on forwards that do not give the batch norm's result to the neurons and to nobody else, whatever their input."""

import pytest
from fuse_tests import Known, Layer, Refused, assert_left
from torch import nn
from torch.utils.checkpoint import checkpoint

import spikeops.nn as snn

refused = Refused()


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


class OneByOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*Layer().children())


@refused("2 others take its result: layers.2, mean")
class PartsOfAChain(OneByOne):
    def forward(self, x):
        y = self.layers[1](self.layers[0](x))
        return self.layers[2](y) + y.mean()


@refused("the forward of PartsOfAChainOnOnePath is not known: forward decides by `skip is None`")
class PartsOfAChainOnOnePath(PartsOfAChain):
    def forward(self, x, skip=None):
        return super().forward(x if skip is None else skip)


@refused("it calls a Sequential that PyTorch does not know to be in it")
class SliceOfAChain(OneByOne):
    def forward(self, x):
        y = self.layers[:2](x)
        return self.layers[2](y) + y.mean()


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


@refused("used in more than one place")
class Shared(FromOutside):
    def __init__(self):
        super().__init__()
        self.other = self.block

    def forward(self, x):
        return self.block(x) + self.other(2 * x)


@pytest.mark.parametrize("name", refused)
def test_it_is_left_and_named(name):
    assert_left(*refused[name])
