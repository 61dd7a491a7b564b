"""Calls of the ops themselves (torch.ops.spikeops), forward and backward, with each optional argument given and left out: those of
all case files (op_cases)."""

import op_cases
import torch

from op_tests.inputs import Inputs

CALLS = op_cases.RAW
# With which Triton's kernels are tested as twins of the native ones.
TRITON_CALLS = {name: build for name, build in CALLS.items() if name not in op_cases.WITHOUT_TRITON}
# Which take its interpreter long: those beside another call of the same kernels, and all trials.
SLOW_TRITON_CALLS = ["clamped_lif_backward/maps", "row_sum/long_rows", *(name for name in TRITON_CALLS if name.startswith("convex"))]


def call(name, inputs):
    """(op, arguments) of a call by its name."""
    op, arguments = CALLS[name](inputs)
    return getattr(torch.ops.spikeops, op), arguments


def op_of(name):
    """The name of the op that a call calls."""
    return CALLS[name](Inputs(T=2, shape=(2, 3)))[0]


def as_tuple(outputs):
    """What an op returned, as a tuple of tensors: an op that works in place returns nothing; what was not asked for, None, is empty."""
    if outputs is None:
        return ()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(torch.empty(0) if output is None else output for output in outputs)


def run_on_copies(op, arguments):
    """What an op returns, as a tuple that begins with what it wrote in place: copies of those arguments."""
    schema = op.default._schema.arguments
    written = [i for i, argument in enumerate(arguments) if schema[i].is_write and argument is not None]
    given = list(arguments)
    for i in written:
        given[i] = arguments[i].clone()
    outputs = as_tuple(op(*given))
    return *(given[i] for i in written), *outputs


def prepare(name, inputs):
    """A function of no arguments that makes the call and returns its results as a tuple (:func:`run_on_copies`)."""
    op, arguments = call(name, inputs)
    return lambda: run_on_copies(op, arguments)


# What writes into its arguments, and returns nothing.
IN_PLACE = {
    name: build for name, build in CALLS.items()
    if any(argument.is_write for argument in getattr(torch.ops.spikeops, op_of(name)).default._schema.arguments)
}  # fmt: skip
