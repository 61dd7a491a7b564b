// The ops of a family: its schemas, which are the contract, beside the functions that bind them to kernels. Autograd formulas and
// fake kernels are in spikeops/functional. Enumerations travel as int (kernels/math), options as plain numbers.
//
// T is the first axis. Any layout of a time step that is dense in memory is walked as it is and kept by the outputs; other
// input is copied first. `decay_tensor` and `v_init` are broadcast to one time step's shape. Absent gradients come back as
// undefined tensors, None in Python, since the number of returns is fixed.
//
// These files are compiled once for each backend, as the CPU kernels are for each instruction set. `Backend(x).run(args)` runs the
// kernel that takes these arguments where the tensor x lives. CMake says which Backend it is: SPIKEOPS_BACKEND is the path of its
// header, and SPIKEOPS_NAMESPACE that of its ops in torch.ops. What is in csrc/cpu is for the CPU only.
#pragma once

#include <torch/csrc/stable/library.h>

#include <cstring>
#include <optional>
#include <string>

#include "common.h"
#include SPIKEOPS_BACKEND

namespace spikeops {
namespace {

class Ops {
 public:
  using Library = torch::stable::detail::StableLibrary;
  using Kernel = void (*)(StableIValue*, uint64_t, uint64_t);

  Ops(void (*add_all)(Ops&), const char* file, uint32_t line)
      : kernels_(Library::Kind::IMPL, SPIKEOPS_NAMESPACE, Backend::kDispatchKey, file, line) {
    if (Backend::kDefinesOps) definitions_.emplace(Library::Kind::FRAGMENT, SPIKEOPS_NAMESPACE, nullptr, file, line);
    add_all(*this);
  }

  void add(Kernel kernel, const char* schema) {
    if (definitions_) definitions_->def(schema);
    kernels_.impl(std::string(schema, std::strcspn(schema, "(")).c_str(), kernel);
  }

 private:
  std::optional<Library> definitions_;
  Library kernels_;
};

}  // namespace
}  // namespace spikeops

// SPIKEOPS_OPS(family) { SPIKEOPS_OP(function, "name(arguments) -> results"); ... }
#define SPIKEOPS_OP(function, schema)                                            \
  ops.add(                                                                       \
      [](StableIValue* stack, uint64_t inputs, uint64_t outputs) {               \
        const RunningOp running(schema);                                         \
        TORCH_BOX(&function)(stack, inputs, outputs);                            \
      },                                                                         \
      schema)
#define SPIKEOPS_OPS(family)                                                \
  static void add_##family##_ops(Ops&);                                     \
  static const Ops family##_ops(&add_##family##_ops, __FILE__, __LINE__);   \
  static void add_##family##_ops(Ops& ops)
