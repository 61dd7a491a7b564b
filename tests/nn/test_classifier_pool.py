"""The pooling before a local classifier: kernels, padding and what its means count."""

import pytest
import torch

import spikeops.nn as snn


@pytest.mark.parametrize(
    "shape, most, kernel, padding, features",
    [
        ((6, 6, 6), 216, (1, 1), (0, 0), 216),  # fits as it is
        ((6, 6, 6), 215, (2, 1), (0, 0), 108),  # half the height is enough
        ((6, 6, 6), 80, (2, 2), (0, 0), 54),
        ((4, 5, 5), 20, (4, 4), (2, 2), 16),  # odd sides get padding
        ((128, 14, 14), 1024, (8, 4), (4, 2), 1024),
        ((3, 7, 7), 3, (8, 8), (4, 4), 3),
        ((2, 1, 30), 4, (1, 16), (0, 8), 4),  # a side of 1 is left alone
    ],
)
def test_smallest_windows_that_suffice(shape, most, kernel, padding, features):
    pool = snn.ClassifierPool2d(shape, most)
    assert (pool.kernel_size, pool.padding) == (kernel, padding)
    assert pool(torch.rand(2, *shape)).shape == (2, pool.out_features)
    assert pool.out_features == features <= most


def test_padded_zeros_count_in_the_mean():
    """As published: one window of 4 x 4 over 3 x 3 pixels starts two before the first, so the last row and column are missed."""
    pooled = snn.ClassifierPool2d((1, 3, 3), 1)(
        torch.tensor([[1.0, 2.0, 100.0], [4.0, 5.0, 100.0], [100.0, 100.0, 100.0]])[None, None]
    )
    assert pooled.item() == (1 + 2 + 4 + 5) / 16


def test_channels_come_first_whatever_the_memory_order():
    x = torch.rand(2, 3, 4, 4)
    pool = snn.ClassifierPool2d((3, 4, 4), 12)
    assert torch.equal(pool(x.to(memory_format=torch.channels_last)), pool(x))
    expected = torch.nn.functional.avg_pool2d(x, pool.kernel_size)
    torch.testing.assert_close(pool(x), expected.flatten(1))


def test_fewer_features_than_channels_are_refused():
    with pytest.raises(
        ValueError, match="ClassifierPool2d: expected max_features to be at least the number of channels, 64, got 63"
    ):
        snn.ClassifierPool2d((64, 5, 5), 63)
    with pytest.raises(ValueError, match=r"expected shape \(C, H, W\) without zeros, got \(4, 0, 5\)"):
        snn.ClassifierPool2d((4, 0, 5), 63)
