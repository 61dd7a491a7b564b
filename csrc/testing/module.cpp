// Python module `spikeops_testing`, for the tests only: raw kernels with numpy arrays in and out, without torch.
#include <pybind11/pybind11.h>

namespace spikeops::testing {
void bind_ops(pybind11::module_& module);
void bind_shim(pybind11::module_& module);
}  // namespace spikeops::testing

PYBIND11_MODULE(spikeops_testing, module) {
  module.doc() = "Raw spikeops kernels on numpy arrays: the CPU kernels, and the CUDA kernels compiled for the host.";
  spikeops::testing::bind_ops(module);
  spikeops::testing::bind_shim(module);
}
