"""spikeops.fuse on forwards that do not do the same for all inputs, or where PyTorch computes otherwise in between: a trace is one path."""

import operator

import pytest
import torch
from fuse_tests import Layer, Refused, assert_left
from torch import nn
from torch.utils.checkpoint import checkpoint

refused = Refused()


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


@refused("forward decides by `skip`")
class ByNoneByFunction(Layer):
    def forward(self, x, skip=None):
        y, other = self.norm(self.conv(x)), self.conv(x)
        return self.neurons((other, y)[operator.is_not(skip, None)])


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


@pytest.mark.parametrize("name", refused)
def test_it_is_left_and_named(name):
    assert_left(*refused[name])
