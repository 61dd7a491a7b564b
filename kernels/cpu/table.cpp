// The kernels of one instruction set, by name.
#include "common.h"

#define SPIKEOPS_JOIN_(a, b) a##b
#define SPIKEOPS_JOIN(a, b) SPIKEOPS_JOIN_(a, b)
#define SPIKEOPS_STRING_(a) #a
#define SPIKEOPS_STRING(a) SPIKEOPS_STRING_(a)

namespace spikeops::cpu {
namespace SPIKEOPS_ISA {
#define KERNEL(name, Args) void name(const Args&, int64_t begin, int64_t end);
#define CPU_KERNEL KERNEL
#include "../kernels.def"
}  // namespace SPIKEOPS_ISA

extern const Kernels SPIKEOPS_JOIN(kernels_, SPIKEOPS_ISA);
const Kernels SPIKEOPS_JOIN(kernels_, SPIKEOPS_ISA) = {
    SPIKEOPS_STRING(SPIKEOPS_ISA),
#define KERNEL(name, Args) SPIKEOPS_ISA::name,
#define CPU_KERNEL KERNEL
#include "../kernels.def"
};

}  // namespace spikeops::cpu
