// A host stand-in for the CUDA execution model, for tests: include it (through kernels/cuda/gpu.hpp) to compile a
// .cu file with g++ and run its kernels on the CPU, one fiber per waiting CUDA thread.
//
// What it checks: results under several thread and block orders, divergent barriers, deadlocks, misused warp
// masks, reads of shared memory that nobody wrote (it is filled with NaN), invalid launch configurations, misaligned
// accesses (those of lanes.hpp); built with ASan and UBSan also overruns of global, static and dynamic shared memory,
// and misaligned vector accesses of any kind.
// What it cannot show: nvcc's code generation, races between blocks, the order of atomics, speed, and limits of a
// particular device. A lane that has exited counts as arrived at a warp collective that names it, as on the device;
// two halves of a warp that name each other in different masks are therefore not noticed if one half has finished.
#pragma once

#if defined(__CUDACC__)
#error "cuda_host.hpp replaces CUDA for the host compiler; nvcc must not see it"
#endif

#include "qualifiers.hpp"

#include "intrinsics.hpp"
#include "machine.hpp"
