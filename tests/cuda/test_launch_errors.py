"""What the error of a failed launch says to do."""

import pytest

# CUDA's error numbers (driver_types.h).
REMEDIES = {
    "this library has no code for the GPU": (200, 209),
    "the NVIDIA driver is too old": (35, 222, 803),
    "free memory of the GPU": (2,),
    "a block of threads would need more shared memory": (701,),
    "the GPU is lost to this process": (46, 100, 101, 214, 802, 999),
    "an earlier kernel of this process": (700, 702, 710, 714, 715, 716, 719),
}


@pytest.mark.parametrize(("remedy", "error"), [(remedy, error) for remedy, errors in REMEDIES.items() for error in errors])
def test_remedy(host_kernels, remedy, error):
    """It goes on with the sentence that CUDA began."""
    text = host_kernels.error_remedy(error)
    assert text.startswith(f"; {remedy}")
    assert ". " not in text and not text.endswith(".")


@pytest.mark.parametrize("error", [0, 1, 98])
def test_errors_that_speak_for_themselves(host_kernels, error):
    assert host_kernels.error_remedy(error) == ""
