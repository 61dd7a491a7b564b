"""What the built CUDA library contains and what it depends on. Needs no device."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import spikeops

LIBRARY = Path(spikeops.__file__).parent / "lib" / "libspikeops_cuda.so"
REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = re.search(r'SPIKEOPS_CUDA_ARCHS "([\d;]+)"', (REPOSITORY / "CMakeLists.txt").read_text())[1]
ARCHITECTURES = sorted(
    os.environ.get("SPIKEOPS_CUDA_ARCHS", DEFAULT).replace(",", ";").replace(".", "").split(";"), key=lambda name: int(name.rstrip("af"))
)
MAY_DEPEND_ON = r"libtorch_(cpu|cuda)\.so|lib(stdc\+\+|m|gcc_s|c|dl|pthread|rt)\.so\.\d+|ld-linux-.*"

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="spikeops was built without CUDA")


def tool(name):
    places = [os.environ.get("PATH"), "/usr/local/cuda/bin"]
    try:
        import triton

        places.append(str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin"))
    except ImportError:
        pass
    found = shutil.which(name, path=os.pathsep.join(filter(None, places)))
    return found or pytest.skip(f"{name} was not found")


SOURCES = sorted((REPOSITORY / "kernels" / "cuda").glob("*.cu"))
OLDEST = DEFAULT.split(";")[0]
WITH_ASSEMBLY = {"batch_norm_lif", "tssl_bp"}  # They include all headers that have.


@pytest.mark.skipif(OLDEST in ARCHITECTURES, reason="the library holds code for it")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_each_file_compiles_for_the_oldest_architecture(source, tmp_path):
    """Where the library was built without it, as CI builds it. Not optimised, in a fifth of the time; to machine code what has assembly in it."""
    kind = ("-cubin", f"-arch=sm_{OLDEST}") if source.stem in WITH_ASSEMBLY else ("-ptx", f"-arch=compute_{OLDEST}")
    flags = ("-std=c++17", "--fmad=false", "--Werror=cross-execution-space-call", "--device-debug")
    command = [tool("nvcc"), *flags, *kind, "-o", tmp_path / "kernels", source]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@functools.cache
def output(*command):
    return subprocess.run([tool(command[0]), *command[1:], LIBRARY], capture_output=True, text=True, check=True).stdout


def test_machine_code_for_every_architecture():
    files = re.findall(r"\.sm_(\d+)a?\.cubin", output("cuobjdump", "--list-elf"))
    assert set(files) == set(ARCHITECTURES)
    assert len({files.count(arch) for arch in ARCHITECTURES}) == 1, "each kernel file for each architecture"


def test_ptx_of_the_newest_architecture():
    assert set(re.findall(r"\.sm_(\d+)a?\.ptx", output("cuobjdump", "--list-ptx"))) == {ARCHITECTURES[-1]}


def test_the_library_says_what_it_was_built_for():
    """What is promised for a GPU follows from this."""
    cuda = spikeops.backends()["cuda"]
    if "architectures" not in cuda:
        pytest.skip(cuda["reason"])
    assert cuda["architectures"].split() == ARCHITECTURES
    assert cuda["ptx"] == ARCHITECTURES[-1]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_the_default_architectures(document):
    assert f'`SPIKEOPS_CUDA_ARCHS="{DEFAULT}"`' in (REPOSITORY / document).read_text()


def test_depends_on_nothing_but_torch_and_the_system():
    needed = re.findall(r"NEEDED.*\[(.+)\]", output("readelf", "-d"))
    assert needed
    assert [name for name in needed if not re.fullmatch(MAY_DEPEND_ON, name)] == []


def test_carries_no_path():
    assert not re.search(r"RPATH|RUNPATH", output("readelf", "-d"))


def test_kernels_keep_to_registers_and_shared_memory():
    """A stack frame would mean that a neuron's state or history went to local memory, which is device memory."""
    usage = re.findall(
        r"Function (\S+):\s+REG:\d+ STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", output("cuobjdump", "--dump-resource-usage")
    )
    assert usage
    # A few bytes are predicates that ptxas parks.
    assert {name: stack for name, stack, local in usage if int(stack) > 16 or int(local) > 0} == {}


def test_denormal_numbers_are_kept():
    # But for the estimate from which a quotient of ordinary numbers is worked out (division.hpp).
    ptx = output("cuobjdump", "--dump-ptx").replace("rcp.approx.ftz.f32", "")
    assert "add.rn.f32" in ptx
    assert not re.search(r"\.ftz|\.approx", ptx)


@pytest.mark.parametrize(
    "kernel",
    ["lif_forward", "alif_forward", "cuba_lif_forward", "recurrent_forward", "readout_forward", "synaptic_filter", "feedback_step"],
)
def test_no_fused_multiply_add(kernel):
    """Contraction would round differently from the CPU. (Kernels with a division are left out: it is made of fused operations.)"""
    mangled = f"{len(kernel) + 7}{kernel}_kernelIf"  # of this very name, not of one that ends in it
    names = sorted(set(re.findall(rf"Function (\w*{mangled}\w*):", output("cuobjdump", "--dump-resource-usage"))))
    assert names
    sass = output("cuobjdump", "--dump-sass", "--gpu-architecture", f"sm_{ARCHITECTURES[-1]}", "--function", ",".join(names))
    assert "FADD" in sass
    assert "FFMA" not in sass
