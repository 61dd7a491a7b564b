// Runs the CUDA kernels compiled for the host, on tensors in its memory. A fault of a kernel or of its launch is thrown.
#pragma once

#include "../../kernels/cuda/launch.h"
#include "../common.h"
#include "memory.h"

namespace spikeops {
namespace {

class Backend {
 public:
  static constexpr const char* kDispatchKey = "CPU";
  static constexpr bool kDefinesOps = true;

  explicit Backend(const Tensor&) {}

#define KERNEL(name, Args) \
  void run(const Args& args) const { cuda::name(args, nullptr); }
#define SCRATCH_KERNEL(name, Args)                                           \
  void run(const Args& args) const {                                         \
    std::vector<unsigned char> scratch(cuda::name##_scratch(args), kPoison); \
    cuda::name(args, scratch.data(), nullptr);                               \
  }
#include "../../kernels/kernels.def"
};

}  // namespace
}  // namespace spikeops
