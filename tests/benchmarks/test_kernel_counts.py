"""Counts of the kernels' machine code: read rightly, and as they must be."""

import re
from pathlib import Path

import kernel_counts
import pytest
from kernel_counts import Kernel, parse, readable, table

import spikeops

LIBRARY = Path(spikeops.__file__).parent / "lib" / "libspikeops_cuda.so"

USAGE = """\
Resource usage:
 Common:
  GLOBAL:0
 Function _Z6kernelPf:
  REG:41 STACK:8 SHARED:1024 LOCAL:0 CONSTANT[0]:600 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """\
\t\tFunction : _Z6kernelPf
\t.headerflags\t@"EF_CUDA_TEXMODE_UNIFIED EF_CUDA_64BIT_ADDRESS EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                              /* 0x00000a00ff017b82 */
                                                                                       /* 0x000fe20000000800 */
        /*0010*/              @!P0 LDG.E.128 R20, desc[UR10][R12.64] ;                 /* 0x000000041e037981 */
        /*0020*/                   LDG.E.CONSTANT R0, desc[UR4][R4.64] ;               /* 0x0000000404007981 */
        /*0030*/                   STL [R1+0x58], R0 ;                                 /* 0x0000000404007981 */
        /*0040*/               @P2 STG.E.U16 desc[UR4][R4.64], R2 ;                    /* 0x0000000404007981 */
        /*0050*/                   STG.E.64 desc[UR4][R4.64], R2 ;                     /* 0x0000000404007981 */
        /*0060*/                   STS.128 [R8], R4 ;                                  /* 0x0000000404007981 */
        /*0070*/                   EXIT ;                                              /* 0x000000000000794d */
        /*10080*/                  NOP ;                                               /* 0x000000000000794d */
"""
COUNTED = Kernel(registers=41, shared=1024, stack=8, spills=1, instructions=8, loads={16: 1, 4: 1}, stores={8: 1, 2: 1})


def test_counts_of_one_kernel():
    assert parse(USAGE, SASS) == {"_Z6kernelPf": COUNTED}


LOOPS = """\
\t\tFunction : _Z6kernelPf
        /*0000*/                   LDG.E R2, desc[UR4][R4.64] ;
        /*0010*/                   LDG.E.128 R20, desc[UR10][R12.64] ;
        /*0020*/                   FADD R0, R2, R3 ;
        /*0030*/                   STG.E.128 desc[UR4][R4.64], R2 ;
        /*0040*/              @!P0 BRA 0x10 ;
        /*0050*/                   FADD R0, R2, R3 ;
        /*0060*/                   STG.E desc[UR4][R4.64], R2 ;
        /*0070*/               @P1 BRA 0x60 ;
        /*0080*/               @P1 BRA 0xa0 ;
        /*0090*/                   BRA.U UP0, 0x0 ;
        /*00a0*/                   EXIT ;
        /*00b0*/                   BRA 0xb0;
        /*00c0*/                   NOP ;
"""


def test_instructions_for_each_byte():
    (kernel,) = parse("", LOOPS).values()
    assert kernel.per_byte == 4 / 32  # the first of the two innermost loops moves more
    (kernel,) = parse("", SASS).values()
    assert kernel.per_byte == 8 / (16 + 4 + 8 + 2)  # no loop: all of the code
    (kernel,) = parse("", LOOPS.replace("LDG", "LDS").replace("STG", "STS")).values()
    assert kernel.per_byte is None


@pytest.mark.parametrize(
    ("registers", "threads"),
    [(24, 2048), (32, 2048), (33, 1536), (64, 1024), (128, 512), (129, 384), (168, 384), (169, 256), (255, 256)],
)
def test_threads_that_registers_leave_room_for(registers, threads):
    """Warps are handed out to the four partitions of a multiprocessor, 16384 registers each, in units of 8 a thread."""
    assert Kernel(registers=registers).threads == threads


def test_readable_names():
    signature = "void spikeops::cuda::(anonymous namespace)::{}(spikeops::LifForward, spikeops::LifParams<float>)"
    names = {
        "lif_forward_kernel<spikeops::bf16, 8>": "lif_forward_kernel<bf16, 8>",
        "synaptic_filter_kernel<float, 4, (spikeops::cuda::Direction)1>": "synaptic_filter_kernel<float, 4, Direction 1>",
        "a_kernel<Walk<2, 16, false>, (spikeops::cuda::(anonymous namespace)::Gradients)0>": "a_kernel<Walk<2, 16, false>, Gradients 0>",
        "feedback_step_kernel<double, 2, spikeops::TernaryParams<double> >": "feedback_step_kernel<double, 2, TernaryParams<double> >",
        "clear_fired_kernel": "clear_fired_kernel",
    }
    assert [readable(signature.format(name)) for name in names] == list(names.values())


def test_table_of_two_states():
    before = Kernel(registers=40, shared=1024, stack=8, spills=1, instructions=9, loads={16: 1, 4: 1}, stores={})
    counted = next(iter(parse(USAGE, SASS).values()))
    lines = table({"a": counted, "new": counted}, {"a": before}).splitlines()
    assert lines[0] == "| kernel | registers | threads | stack | spills | shared | instructions | per byte | loads | stores |"
    assert lines[2] == "| `a` | 40 → 41 | 1536 → 1280 | 8 | 1 | 1024 | 9 → 8 | - → 0.27 | 1 x 16, 1 x 4 | - → 1 x 8, 1 x 2 |"
    assert lines[3].startswith("| `new` | - → 41 |")


@pytest.fixture(scope="module")
def built():
    if not LIBRARY.exists():
        pytest.skip("spikeops was built without CUDA")
    if kernel_counts.tool("cuobjdump") is None or kernel_counts.tool("c++filt") is None:
        pytest.skip("cuobjdump or c++filt was not found")
    return kernel_counts.read([LIBRARY], "sm_90") or pytest.skip("not built for sm_90")


SIZES = {"double": 8, "float": 4, "int": 4, "long": 8, "fp16": 2, "bf16": 2, "unsigned char": 1}


# Which also store numbers of a time step, a sample or a class; or whose spikes, packed or counted, have a type of their own.
SINGLE_NUMBERS = ("feedback", "local_classes", "local_feedback", "pack", "spike_count")
# Bytes of the smaller numbers that some store beside those of the data.
SMALLER = {"lif_bits_forward_kernel": 1, "lif_distances_forward_kernel": 2}


def test_wide_kernels_store_as_wide_as_they_load(built):
    """nvcc splits copies of structs; a row stored as four words takes four times the memory transactions."""
    narrow, wide = {}, 0
    for name, kernel in built.items():
        found = re.fullmatch(rf"(\w+_kernel)<({'|'.join(SIZES)}), (\d+)[,>].*", name)
        if found is None or (width := int(found[3])) == 1 or name.startswith(SINGLE_NUMBERS):
            continue
        wide += 1
        if kernel.stores and min(kernel.stores) < min(16, width * SMALLER.get(found[1], SIZES[found[2]])):
            narrow[name] = dict(kernel.stores)
    assert wide > 30
    assert narrow == {}
