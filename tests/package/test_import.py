"""`import spikeops`: what is there, what it costs, and what it says when the libraries are missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import op_cases
import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

PACKAGE = Path(spikeops.__file__).parent


def python(code, cwd=Path(__file__).parent, **environment):
    """Runs code in a new process. Packages are looked for in cwd first: never in the checkout, whose sources are not built."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_public_names():
    """The functions and modules that the case files tell of, and besides what stands here."""
    tested_elsewhere = {name for name in op_cases.TESTED_ELSEWHERE if hasattr(SF, name)}
    assert set(SF.__all__) == {*op_cases.first_calls(), *tested_elsewhere}
    assert set(snn.__all__) == {
        *op_cases.MODULES, "AvgPool2d", "ClassifierPool2d", "LocalLossBlock", "SpikeConv2d", "SpikeLinear", "TimeDistributed", "WSConv2d", "checkpoint",
        "init_unit_norm_", "restrict_frobenius_norm", "restrict_spectral_norm", "similarity_matching_loss", "similarity_matrix",
    }  # fmt: skip
    for module in (spikeops, SF, snn, spikeops.surrogate):
        for name in module.__all__:
            assert getattr(module, name) is not None
    assert spikeops.__version__.count(".") == 2


def test_every_op_has_a_reference():
    from spikeops import reference

    assert set(SF.__all__) <= set(reference.__all__)


def test_import_does_not_need_triton_or_the_training_extra():
    """Optional packages are only imported when they are used."""
    done = python(
        "import sys, spikeops, spikeops.nir; names = 'triton', 'torchvision', 'sklearn', 'matplotlib', 'spiketrain', 'nir', 'nirtorch'; "
        "print([name for name in names if name in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    loaded_by_torch = python("import sys, torch; print(['triton'] if 'triton' in sys.modules else [])").stdout
    assert done.stdout == loaded_by_torch


def test_import_does_not_start_threads_or_change_settings():
    done = python(
        "import torch; before = (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed(), torch.is_grad_enabled());"
        "import spikeops;"
        "assert before == (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed(), torch.is_grad_enabled())"
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["missing", "broken"])
def bad_copy(request, tmp_path):
    """A folder with a copy of the package whose native library cannot be loaded."""
    shutil.copytree(PACKAGE, tmp_path / "spikeops", ignore=shutil.ignore_patterns("lib", "__pycache__"))
    if request.param == "broken":
        (tmp_path / "spikeops" / "lib").mkdir()
        (tmp_path / "spikeops" / "lib" / "libspikeops_cpu.so").write_bytes(b"not a library")
    return tmp_path


def test_library_that_cannot_be_loaded(bad_copy):
    """One error that tells what was looked for, what is installed, and what to do."""
    done = python("import spikeops", cwd=bad_copy)
    assert done.returncode != 0
    message = done.stderr[done.stderr.index("ImportError: spikeops: the native library") :]
    for words in (
        str(bad_copy),
        "libspikeops_cpu",
        "could not be loaded",
        "pip install .",
        f"torch {torch.__version__}",
        "Python 3.",
    ):
        assert words in message


@pytest.mark.parametrize("threads", ["1", "2"])
def test_backends_reports_threads(threads):
    done = python("import spikeops; print(spikeops.backends()['cpu']['threads'])", OMP_NUM_THREADS=threads)
    assert done.stdout.strip() == threads, done.stderr
