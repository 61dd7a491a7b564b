// Picks the kernels for this CPU, once. Compiled for the baseline.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace spikeops::cpu {

// Which instruction sets there are is the build's choice (SPIKEOPS_ISAS).
#if defined(SPIKEOPS_NARROWEST)
extern const Kernels kernels_v2, kernels_v3, kernels_v4;

static const Kernels& pick() {
  const char* asked = std::getenv("SPIKEOPS_CPU_ISA");
  [[maybe_unused]] const int most = !asked ? 4 : std::strcmp(asked, "v2") == 0 ? 2 : std::strcmp(asked, "v3") == 0 ? 3 : 4;
  __builtin_cpu_init();
  [[maybe_unused]] const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
  [[maybe_unused]] const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                                   __builtin_cpu_supports("avx512cd");
#if defined(SPIKEOPS_HAS_v4)
  if (v4 && most >= 4) return kernels_v4;
#endif
#if defined(SPIKEOPS_HAS_v3)
  if (v3 && most >= 3) return kernels_v3;
#endif
  return SPIKEOPS_NARROWEST;
}
#else
extern const Kernels kernels_native;

static const Kernels& pick() { return kernels_native; }
#endif

const Kernels& kernels() {
  static const Kernels& picked = pick();
  return picked;
}

}  // namespace spikeops::cpu
