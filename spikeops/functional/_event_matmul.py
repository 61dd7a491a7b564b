"""Products of a mostly silent matrix and a dense one: the rows of the dense one are added up where the other is not 0.

For the CPU: :func:`spikeops.functional.spike_linear` and the steps of :class:`spikeops.nn.LocalBlock` run on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from spikeops.functional._events import VECTOR_BYTES

# A model of the costs, in rough CPU cycles. It decides by the sizes and the share of inputs that are not 0 alone, so that the same
# data takes the same path, and rounds the same way, on every run.
_CYCLES_PER_INPUT = {False: (2, 10), True: (3, 20)}  # of rows, of columns: to look whether it fired, and to note that it did
_CYCLES_PER_LOAD = 4  # per vector of the dense matrix, to lay its rows side by side
_CYCLES_PER_LIST = 40  # and group of columns that are summed up at a time: begin, end, store
_CYCLES_PER_EVENT = 1.6  # and vector of columns
# Per number of the silent matrix and vector of columns: between 0.58, with two units for 64 bytes as Xeons have them, and 1.08, with two
# for 32 as EPYCs up to the fourth generation.
_CYCLES_DENSE = 0.7
_MARGIN = 0.85  # what is uncertain of all this
_GROUP = 4  # vectors of columns that are summed up at a time


@dataclass(frozen=True)
class Events:
    """What is not 0 in the rows of a matrix, or in its columns: a list for each of them, in ascending order.

    Attributes:
        count: of each list (L,).
        place: in its row or column (L, length), of which the first `count` are set; value: what is there.
    """

    count: torch.Tensor
    place: torch.Tensor
    value: torch.Tensor

    @classmethod
    def of_rows(cls, x: torch.Tensor) -> Events:
        """Of x (R, C), float32 or float64: R lists."""
        return cls(*torch.ops.spikeops.find_events(x, False))

    @classmethod
    def of_columns(cls, x: torch.Tensor) -> Events:
        """The same of its C columns: the rows of its transpose."""
        return cls(*torch.ops.spikeops.find_events(x, True))

    def times(self, matrix: torch.Tensor, out: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
        """out (L, O) = bias (O) + lists (L, K) times matrix (K, O), each sum in the order of its list, for any number of threads. The
        rows or the columns of ``out`` are dense in memory; a matrix of either order is walked as it is.

        Returns:
            False where not all of the matrix is finite: 0 times that is NaN, which sums over events do not know. What ``out``
            holds then is of no use.
        """
        return torch.ops.spikeops.event_matmul_(out, self.count, self.place, self.value, matrix, bias).item()


def pays(
    rows: int, inner: int, columns: int, density: float, element_size: int, *, of_columns: bool = False, uses: int = 1
) -> bool:
    """Whether a product (rows, inner) times (inner, columns) is likely to beat the dense one if that share of the first is not 0.

    Args:
        element_size: bytes of a number
        of_columns: the first matrix is the transpose of one whose columns are looked through
        uses: for how many products what is found there serves
    """
    vectors = -(-columns * element_size // VECTOR_BYTES)
    groups = -(-vectors // _GROUP)
    look, note = _CYCLES_PER_INPUT[of_columns]
    find = (look + note * density) * rows * inner / uses
    load = _CYCLES_PER_LOAD * inner * vectors
    visit = _CYCLES_PER_LIST * rows * groups
    events = find + load + visit + _CYCLES_PER_EVENT * density * rows * inner * vectors
    return events < _MARGIN * _CYCLES_DENSE * rows * inner * vectors


@torch.library.register_fake("spikeops::find_events")
def _fake_events(x, of_columns):
    sizes = (x.shape[1], x.shape[0]) if of_columns else (x.shape[0], x.shape[1])
    return x.new_empty(sizes[0], dtype=torch.int32), x.new_empty(sizes, dtype=torch.int32), x.new_empty(sizes)


@torch.library.register_fake("spikeops::event_matmul_")
def _fake_product(out, count, place, value, matrix, bias):
    return out.new_empty((), dtype=torch.bool)
