"""More than 2^31 elements: offsets are 64 bits wide."""

import numpy as np
import pytest
import torch

import spikeops.functional as SF

T, N = 2**11 + 1, 2**20 + 3


@pytest.fixture(scope="module")
def spikes():
    """Untouched pages of zeros cost no memory; only the borders hold spikes."""
    spikes = torch.from_numpy(np.zeros((T, N), bool))
    assert spikes.numel() > 2**31
    spikes[0, 0] = spikes[-1, 0] = spikes[-1, -1] = True
    return spikes


def test_spike_count(native, spikes):
    count = SF.spike_count(spikes)
    assert count.sum() == 3
    assert count[0] == 2 and count[-1] == 1


def test_pack_spikes(native, spikes):
    packed = SF.pack_spikes(spikes)
    assert packed[0, 0] == 1 and packed[-1, 0] == packed[-1, -1] == 1 << (T - 1) % 16
    assert SF.spike_count(packed).sum() == 3
