// CPU kernels: loops over time and neurons. Each is compiled once per instruction set; kernels() picks the widest that this
// CPU has. Kernels take a range of items (`shares_of`, else neurons), so that the caller can share the work among threads: results
// never depend on how.
#pragma once

#include <cstdint>

#define KERNEL(name, Args) struct Args;
#define CPU_KERNEL KERNEL
namespace spikeops {
#include "../kernels.def"
}

namespace spikeops::cpu {

template <class Args>
using Kernel = void (*)(const Args&, int64_t begin, int64_t end);
// Thrown by a kernel that could not get memory for a range. Nothing but a number, as kernels are compiled once per instruction set.
struct NoMemory {
  int64_t bytes;
};

struct Kernels {
  const char* isa;
#define KERNEL(name, Args) Kernel<Args> name;
#define CPU_KERNEL KERNEL
#include "../kernels.def"
};

// The table for this CPU. SPIKEOPS_CPU_ISA=v2|v3|v4 in the environment asks for a narrower one.
const Kernels& kernels();

// kernel_for(args) is the kernel that takes them.
#define KERNEL(name, Args) \
  inline Kernel<Args> kernel_for(const Args&) { return kernels().name; }
#define CPU_KERNEL KERNEL
#include "../kernels.def"

}  // namespace spikeops::cpu
