#include <array>

#include "../../kernels/cuda_host/cuda_host.hpp"
#include "arrays.h"
#include "shim_kernels.h"

namespace spikeops::testing {

using Size3 = std::array<unsigned, 3>;

void bind_shim(py::module_& module) {
  py::register_exception<cuda_host::KernelFault>(module, "KernelFault", PyExc_RuntimeError);
  module.def(
      "set_thread_order",
      [](const std::string& order, unsigned seed) {
        using cuda_host::ThreadOrder;
        ThreadOrder parsed = ThreadOrder::forward;
        if (order == "reverse")
          parsed = ThreadOrder::reverse;
        else if (order == "shuffled")
          parsed = ThreadOrder::shuffled;
        else if (order != "forward")
          throw py::value_error("order is forward, reverse or shuffled, got " + order);
        cuda_host::Machine::instance().set_order(parsed, seed);
      },
      py::arg("order"), py::arg("seed") = 0);

  module.def(
      "set_device",
      [](int multiprocessors, size_t shared_bytes) {
        auto& machine = cuda_host::Machine::instance();
        machine.multiprocessors = multiprocessors;
        machine.shared_bytes = shared_bytes;
      },
      py::arg("multiprocessors") = 0, py::arg("shared_bytes") = cuda_host::Machine::most_shared_bytes,
      "What launchers are told of the device.");
  module.def(
      "last_launch",
      [] {
        const auto& machine = cuda_host::Machine::instance();
        return py::dict(py::arg("blocks") = machine.last_grid.x, py::arg("shared_bytes") = machine.last_shared_bytes);
      });

  auto shim = module.def_submodule("shim", "Small right and wrong kernels that test the host stand-in for CUDA.");
  shim.def("indices", [](py::array out, Size3 grid, Size3 block) { indices(pointer<int>(out), grid.data(), block.data()); });
  shim.def("idle", [](Size3 grid, Size3 block, int64_t shared_bytes) { idle(grid.data(), block.data(), shared_bytes); });
  shim.def("block_sum", [](py::array x, py::array out, int blocks, int threads) {
    block_sum(pointer<float>(x), pointer<float>(out), blocks, threads);
  });
  shim.def("rotate", [](py::array x, py::array out, int blocks, int by, bool barrier) {
    rotate(pointer<float>(x), pointer<float>(out), blocks, by, barrier);
  });
  shim.def("read_then_overwrite", [](py::array x, py::array out, bool barrier) {
    read_then_overwrite(pointer<float>(x), pointer<float>(out), barrier);
  });
  shim.def("shuffle", [](py::array x, py::array out, int kind, int argument, int width) {
    shuffle(pointer<int>(x), pointer<int>(out), int(x.size()), kind, argument, width);
  });
  shim.def("vote", [](py::array x, py::array out) { vote(pointer<int>(x), pointer<unsigned>(out), int(x.size())); });
  shim.def("early_exit", [](py::array out, int survivors) { early_exit(pointer<float>(out), survivors); });
  shim.def("global_overrun",
           [](py::array out, int threads, int64_t excess) { global_overrun(pointer<float>(out), threads, excess); });
  shim.def("static_shared_overrun", [](py::array out, int excess) { static_shared_overrun(pointer<float>(out), excess); });
  shim.def("dynamic_shared_overrun", [](py::array out, int excess) { dynamic_shared_overrun(pointer<float>(out), excess); });
  shim.def("copy_float4",
           [](py::array x, py::array out) { copy_float4(pointer<float>(x), pointer<float>(out), int(x.size() / 4)); });
  shim.def("copy_lanes", [](py::array x, py::array out) { copy_lanes(pointer<float>(x), pointer<float>(out), int(x.size() / 4)); });

  const std::pair<const char*, void (*)(float*)> faults[] = {
      {"shuffle_from_outside", shuffle_from_outside},  {"unwritten_shared", unwritten_shared},
      {"divergent_barrier", divergent_barrier},        {"barrier_against_warp", barrier_against_warp},
      {"mask_without_caller", mask_without_caller},    {"differing_masks", differing_masks},
      {"differing_collectives", differing_collectives}};
  for (const auto& [name, kernel] : faults) shim.def(name, [kernel = kernel](py::array out) { kernel(pointer<float>(out)); });
}

}  // namespace spikeops::testing
