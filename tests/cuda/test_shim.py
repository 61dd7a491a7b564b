"""The host stand-in for CUDA runs right kernels rightly and reports wrong ones."""

import numpy as np
import pytest

LANES = np.arange(32)


@pytest.fixture
def shim(host_kernels):
    return host_kernels.shim


@pytest.fixture
def floats():
    return np.random.default_rng(0).standard_normal(512).astype(np.float32)


def test_indices_cover_a_three_dimensional_grid(shim, thread_order):
    grid, block = (2, 3, 2), (4, 2, 3)
    out = np.full((12, 24, 6), -1, np.int32)
    shim.indices(out, grid, block)
    blocks = np.stack([axis.ravel(order="F") for axis in np.meshgrid(*map(np.arange, grid), indexing="ij")], -1)
    threads = np.stack([axis.ravel(order="F") for axis in np.meshgrid(*map(np.arange, block), indexing="ij")], -1)
    np.testing.assert_array_equal(out[..., :3], np.broadcast_to(blocks[:, None], (12, 24, 3)))
    np.testing.assert_array_equal(out[..., 3:], np.broadcast_to(threads[None], (12, 24, 3)))


def test_block_reduction(shim, floats, thread_order):
    out = np.full(4, np.nan, np.float32)
    shim.block_sum(floats, out, blocks := 4, threads := 128)
    # 1e-5: 128 float32 additions in another order than numpy's.
    np.testing.assert_allclose(out, floats.reshape(blocks, threads).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [32, 8, 1])
@pytest.mark.parametrize(("kind", "argument"), [(0, 5), (0, 37), (1, 3), (2, 3), (3, 5), (3, 31)])
def test_shuffles(shim, thread_order, kind, argument, width):
    x, out = LANES.astype(np.int32) * 10, np.empty(32, np.int32)
    shim.shuffle(x, out, kind, argument, width)
    segment = LANES & ~(width - 1)
    source = [segment | (argument & (width - 1)), LANES - argument, LANES + argument, LANES ^ argument][kind]
    if kind > 0:
        below, above = source < segment, source > segment + width - 1
        source = np.where(below | above if kind < 3 else above, LANES, source)
    np.testing.assert_array_equal(out, x[source])


def test_votes_in_full_and_partial_warps(shim, thread_order):
    x = np.random.default_rng(1).integers(0, 2, 70).astype(np.int32)
    x[32:64] = 1
    out = np.empty((70, 3), np.uint32)
    shim.vote(x, out)
    for warp in (x[:32], x[32:64], x[64:]):
        ballot = sum(int(bit) << lane for lane, bit in enumerate(warp))
        rows, out = out[: len(warp)], out[len(warp) :]
        assert (rows == [ballot, ballot != 0, warp.all()]).all()


def test_threads_that_exited_do_not_hold_a_barrier(shim, thread_order):
    out = np.zeros(64, np.float32)
    shim.early_exit(out, 40)
    np.testing.assert_array_equal(out, np.arange(64) < 40)


def test_missing_barrier_after_write_shows(shim, floats, thread_order):
    expected = np.roll(floats.reshape(4, 128), -3, axis=1).ravel()
    out = np.empty_like(floats)
    shim.rotate(floats, out, 4, 3, True)
    np.testing.assert_array_equal(out, expected)
    shim.rotate(floats, out, 4, 3, False)
    assert not np.array_equal(out, expected)


def test_missing_barrier_after_read_shows(shim, floats, thread_order):
    x, out = floats[:128], np.empty(128, np.float32)
    shim.read_then_overwrite(x, out, True)
    np.testing.assert_array_equal(out, np.roll(x, -1))
    shim.read_then_overwrite(x, out, False)
    assert not np.array_equal(out, np.roll(x, -1))


def test_unwritten_shared_memory_is_nan(shim, thread_order):
    out = np.zeros(256, np.float32)
    shim.unwritten_shared(out)
    np.testing.assert_array_equal(out[:128], 2)
    assert np.isnan(out[128:]).all()


def test_shuffle_from_a_lane_outside_the_mask_is_nan(shim, thread_order):
    out = np.zeros(32, np.float32)
    shim.shuffle_from_outside(out)
    assert np.isnan(out[:16]).all()
    np.testing.assert_array_equal(out[16:], -1)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("divergent_barrier", r"divergent barrier: .*shim_kernels\.cu:\d+ and at .*shim_kernels\.cu:\d+"),
        ("barrier_against_warp", r"deadlock: 64 threads.*thread 0 at the warp collective .*thread 1 at the block barrier"),
        ("mask_without_caller", "mask leaves it out"),
        ("differing_masks", "different masks"),
        ("differing_collectives", "different warp collectives"),
    ],
)
def test_synchronisation_faults_are_reported(host_kernels, shim, thread_order, kernel, message):
    with pytest.raises(host_kernels.KernelFault, match=message):
        getattr(shim, kernel)(np.zeros(64, np.float32))
    # The machine is whole again afterwards.
    out = np.zeros(64, np.float32)
    shim.early_exit(out, 64)
    assert out.all()


@pytest.mark.parametrize(
    ("grid", "block", "shared_bytes"),
    [
        ((1, 1, 1), (1025, 1, 1), 0),
        ((1, 1, 1), (32, 33, 1), 0),
        ((1, 1, 1), (0, 1, 1), 0),
        ((0, 1, 1), (32, 1, 1), 0),
        ((2**31, 1, 1), (32, 1, 1), 0),
        ((1, 65536, 1), (32, 1, 1), 0),
        ((1, 1, 65536), (32, 1, 1), 0),
        ((1, 1, 1), (32, 1, 1), 227 * 1024 + 1),
    ],
)
def test_invalid_launch_configurations(host_kernels, shim, grid, block, shared_bytes):
    with pytest.raises(host_kernels.KernelFault, match="invalid launch configuration"):
        shim.idle(grid, block, shared_bytes)


def test_valid_extremes_launch(shim):
    shim.idle((1, 2, 3), (1024, 1, 1), 227 * 1024)


def test_unknown_thread_order(host_kernels):
    with pytest.raises(ValueError, match="forward, reverse or shuffled"):
        host_kernels.set_thread_order("sideways")
