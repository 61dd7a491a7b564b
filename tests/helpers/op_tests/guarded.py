"""Tensors between two pages of memory that nobody may touch: what reads or writes beyond them ends the process.

Sanitizers see such a thing in what they compiled themselves, and only if it is close by; this is for everything else, such as what
NumPy reads for Triton's interpreter."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap

import torch

_LIBC = ctypes.CDLL(None, use_errno=True)
_NOTHING, _PAGE = 0, mmap.PAGESIZE


def guarded(tensor: torch.Tensor, at_the_end: bool = True) -> torch.Tensor:
    """A copy of a dense tensor, of the same strides, that ends where a guard page begins, or begins where one ends."""
    size = tensor.numel() * tensor.element_size()
    pages = max(-(-size // _PAGE), 1)
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (address, address + (pages + 1) * _PAGE):
        if _LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE), _NOTHING):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages + 1) * _PAGE - size if at_the_end else _PAGE
    count = max(tensor.numel(), 1)  # of nothing a tensor of one, whose memory is not touched
    flat = torch.frombuffer(memory, dtype=tensor.dtype, count=count, offset=start if size else _PAGE)[: tensor.numel()]
    return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


def guarded_arguments(arguments, at_the_end: bool) -> list:
    """Tensors among them guarded, but those that are not dense: ops copy these first."""
    return [guarded(a, at_the_end) if isinstance(a, torch.Tensor) and _is_dense(a) else a for a in arguments]


def _is_dense(tensor: torch.Tensor) -> bool:
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.numel() == 0 or extent == tensor.numel()


def run_all(namespace, calls: dict, cases: list, expected_of=None, guards=(True, False)) -> None:
    """Every call on guarded arguments, each with the results that it has on plain ones. Says what it is about to do, so that the last
    line names the call that ended the process.

    Args:
        namespace: of torch.ops.
        calls: {name: inputs -> (op, arguments)}
        cases: arguments of op_tests.inputs.Inputs
        expected_of: namespace whose results are expected, if another one
        guards: whether they lie behind the tensors; True and False for one after the other
    """
    from op_tests.inputs import Inputs
    from op_tests.op_calls import as_tuple, run_on_copies

    faulthandler.enable()
    for name, build in calls.items():
        for case in cases:
            op, arguments = build(Inputs(**case))
            function = getattr(namespace, op)
            expected = run_on_copies(getattr(expected_of or namespace, op), arguments)
            for at_the_end in guards:
                print(f"{name} {case}, guard {'behind' if at_the_end else 'in front'}", flush=True)
                given = guarded_arguments(arguments, at_the_end)
                schema = function.default._schema.arguments
                outputs = as_tuple(function(*given))
                written = [value for value, argument in zip(given, schema) if argument.is_write and value is not None]
                for actual, wanted in zip((*written, *outputs), expected, strict=True):
                    assert (actual.dtype, actual.shape, actual.stride()) == (wanted.dtype, wanted.shape, wanted.stride()), f"{name} {case}"
                    same = actual == wanted
                    if wanted.is_floating_point():
                        same |= actual.isnan() & wanted.isnan()
                    assert same.all(), f"{name} {case}: other results on guarded memory"
