// Python module `spikeops_testing`, for the tests only. It brings the ops once more, which register themselves
// (csrc/testing/CMakeLists.txt): torch must have been imported before.
#include <pybind11/pybind11.h>

#include "../../kernels/cuda/launch.h"
#include "../cuda_host/memory.h"

namespace spikeops::testing {
void bind_shim(pybind11::module_& module);
}  // namespace spikeops::testing

PYBIND11_MODULE(spikeops_testing, module) {
  module.doc() = "The ops on the CUDA kernels compiled for the host and on the CPU kernels, and the stand-in for CUDA.";
  module.def("set_memory_offset", &spikeops::set_memory_offset, pybind11::arg("elements"), pybind11::arg("only") = -1,
             "Whatever the ops allocate, or only what they allocate at this place (from 0 on), begins so many elements behind a "
             "16-byte border.");
  module.def("error_remedy", &spikeops::cuda::error_remedy);
  spikeops::testing::bind_shim(module);
}
