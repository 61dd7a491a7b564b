// What libspikeops_cpu says of its own build: JSON, read by spikeops/_library.py.
#include <string>

#include "../../kernels/cpu/kernels.h"

extern "C" __attribute__((visibility("default"))) const char* spikeops_cpu_build_info() {
  static const std::string info = std::string("{\"compiler\": \"") + SPIKEOPS_COMPILER + "\", \"flags\": \"" + SPIKEOPS_FLAGS +
                                  "\", \"torch_headers\": \"" + SPIKEOPS_TORCH_VERSION + "\", \"isa\": \"" +
                                  spikeops::cpu::kernels().isa + "\"}";
  return info.c_str();
}
