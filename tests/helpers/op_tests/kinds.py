"""What a case file (op_cases/<family>.py) can say of its ops. Tests and benchmarks loop over what all of them say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

import spikeops.functional as SF
from op_tests.neurons import DTYPES
from spikeops import reference


@dataclass(frozen=True, kw_only=True)
class Call:
    """A way to call a function of :mod:`spikeops.functional`, beside its definition.

    Args:
        name: the function, and behind a slash what tells this call from others of it: "lif/constant".
        arguments: (inputs, **spread) -> arguments by name: tensors, and numbers that follow from the size. None is left out.
        options: further arguments: numbers, flags, choices.
        spreads: values of the further parameters of ``arguments``, such as how a decay is spread over neurons; the last ones of a call
            that works in place leave out all that is optional.
        ranges: other values of options, from which tests draw: (low, high) for any number between, a list for choices.
        positive: options that must be above 0.
        any_number: options that may be any float32; the results are then still those of the definition, bit for bit.
        float32: options that the state must be able to hold: what float32 rounds to infinity is refused, but with float64 data.
        differentiable: the arguments that get a gradient, if they are tensors. The first is the data, the others are parameters: what
            neurons have one of, or share.
        keeps: those of the arguments that the forward pass keeps for the backward pass; it keeps nothing else.
        keeps_outputs: indices of outputs that it keeps for it as well.
        kept_bytes: T -> bytes for each neuron that it keeps in a tensor of its own.
        kept_of_channel: bytes for each channel of (B, C, ...) that it keeps besides.
        is_linear: exactly differentiable, any number of times.
        spikes: index of an output whose float64 numbers are the same on all devices, since they depend on no exp.
        weights: the arguments that are weights of a layer, whose neurons lie along the last axis of the data. All others that get a
            gradient are what neurons have one of, or share.
        written: the arguments that are written in place. The function returns one of them.
        summed: an argument whose sum each backend takes in an order of its own.
        not_negative: arguments whose numbers below 0 would cancel others in a sum, so that no order of it is better than another.
        dtypes: of the data.
        takes_integers: whether the data may be integers, too.
        own_bad_input: the file of tests/ops in which its tensors are shown to be refused, where they are checked in another way.
        own_test: a file of tests/ops that compares with the reference where that takes more than equal bits.
        on_device: whether the tests on a GPU, whose time is short, make the call. Its sanitizers watch all calls.
        run, definition: instead of the functions of that name in spikeops.functional and in the reference.
    """

    name: str
    arguments: Callable[..., dict]
    options: Mapping = field(default_factory=dict)
    spreads: Mapping = field(default_factory=dict)
    ranges: Mapping = field(default_factory=dict)
    positive: tuple[str, ...] = ()
    any_number: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    differentiable: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    keeps_outputs: tuple[int, ...] = ()
    kept_bytes: Callable[[int], int] | None = None
    kept_of_channel: int = 0
    is_linear: bool = False
    spikes: int | None = None
    weights: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    summed: str = ""
    not_negative: tuple[str, ...] = ()
    dtypes: tuple[torch.dtype, ...] = DTYPES
    takes_integers: bool = False
    own_bad_input: str = ""
    own_test: str = ""
    on_device: bool = True
    run: Callable | None = None
    definition: Callable | None = None

    def __str__(self):
        return self.name

    @property
    def function(self) -> str:
        return self.name.partition("/")[0]

    def make(self, inputs, **spread) -> dict:
        """All arguments by name."""
        arguments = {name: value for name, value in self.arguments(inputs, **spread).items() if value is not None}
        return {**arguments, **self.options}

    def __call__(self, arguments: Mapping) -> tuple[torch.Tensor, ...]:
        """Results of the function. Those written in place are copies: the arguments stay as they are."""
        return self._results(self.run or getattr(SF, self.function), arguments)

    def define(self, arguments: Mapping) -> tuple[torch.Tensor, ...]:
        """The same by its definition."""
        return self._results(self.definition or getattr(reference, self.function), arguments)

    def _results(self, function, arguments):
        copies = {name: arguments[name].clone() for name in self.written if name in arguments}
        outputs = function(**{**arguments, **copies})
        if self.written:
            return tuple(copies.values())
        return outputs if isinstance(outputs, tuple) else (outputs,)


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Several calls after each other, as a function of tensors: for the tests on a GPU.

    Args:
        name: of the family.
        tensors: (generator, T, N, dtype) -> tensors on the CPU.
        function: tensors -> a list of tensors.
        summed: places of tensors whose sum each backend takes in an order of its own.
    """

    name: str
    tensors: Callable[..., tuple[torch.Tensor, ...]]
    function: Callable[..., list[torch.Tensor]]
    summed: tuple[int, ...] = ()

    def __str__(self):
        return self.name


@dataclass(frozen=True, kw_only=True)
class Smooth:
    """A function that is differentiable in the usual sense, at the numbers given: its gradients are compared with differences.

    Args:
        name: as of :class:`Call`.
        function: tensors -> a tensor.
        tensors: (draw, parameter shape) -> float64 tensors (5, 2, 3), and parameters of that shape.
    """

    name: str
    function: Callable[..., torch.Tensor]
    tensors: Callable[..., tuple[torch.Tensor, ...]]

    def __str__(self):
        return self.name


@dataclass(frozen=True, kw_only=True)
class Module:
    """A class of :mod:`spikeops.nn`.

    Args:
        kind: the class.
        needed: arguments without a default.
        options: another value for each of the others, but for those that exclude some of these: they are in ``samples``.
        function: (x, **arguments) -> what a module made with these arguments returns for x (T, ...), by spikeops.functional; None
            for a module that is more than a function.
        samples: arguments, besides none and all, with which it is compared with its function.
        state: the names in its state dict.
    """

    kind: type
    needed: Mapping = field(default_factory=dict)
    options: Mapping = field(default_factory=dict)
    function: Callable | None = None
    samples: tuple[Mapping, ...] = field(default=())
    state: tuple[str, ...] = ()

    def __str__(self):
        return self.kind.__name__
