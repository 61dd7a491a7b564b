// Runs the CUDA kernels on the device of the tensors and on torch's current stream.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "../../kernels/cuda/launch.h"
#include "../common.h"

namespace spikeops {
namespace {

class Backend {
 public:
  static constexpr const char* kDispatchKey = "CUDA";
  static constexpr bool kDefinesOps = false;  // libspikeops_cpu does

  explicit Backend(const Tensor& x) : like_(x), guard_(x.get_device()) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device(), &stream_));
  }

  // Scratch memory is freed at the end of the call; torch's allocator hands it out again in stream order only.
#define KERNEL(name, Args) \
  void run(const Args& args) const { check(#name, cuda::name(args, stream_)); }
#define SCRATCH_KERNEL(name, Args)                                                                     \
  void run(const Args& args) const {                                                                   \
    const Tensor scratch = empty_strided(like_, {cuda::name##_scratch(args)}, {1}, ScalarType::Byte); \
    check(#name, cuda::name(args, write(scratch), stream_));                                           \
  }
#include "../../kernels/kernels.def"

 private:
  static void check(const char* kernel, int error) {
    STD_TORCH_CHECK(error == 0, kernel, ": the CUDA kernel could not be launched: ", cuda::error_text(error),
                    cuda::error_remedy(error));
  }

  const Tensor like_;
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace
}  // namespace spikeops
