// What the bindings say where memory runs out: the op, the shape, the bytes, and torch's own words, by which programs that look for
// a batch that fits recognise such an error. (spikeops/functional/_memory.py makes torch.OutOfMemoryError of it on devices.)
#pragma once

#ifndef _WIN32
#include <dlfcn.h>
#endif
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/HeaderOnlyArrayRef.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace spikeops {

using torch::headeronly::ScalarType;
using Dims = std::vector<int64_t>;
using Extents = torch::headeronly::IntHeaderOnlyArrayRef;  // the same, looked at: a call of an op has no microsecond for copies

// The schema of the op that runs in this thread.
inline thread_local const char* running_op = "spikeops";

class RunningOp {
 public:
  explicit RunningOp(const char* schema) : before_(running_op) { running_op = schema; }
  ~RunningOp() { running_op = before_; }
  RunningOp(const RunningOp&) = delete;
  RunningOp& operator=(const RunningOp&) = delete;

 private:
  const char* const before_;
};

inline std::string name_of_op() { return std::string(running_op, std::strcspn(running_op, "(")); }

// What torch says of the last error of a call into it. Before version 2.13 it does not tell: "".
inline std::string torchs_words() {
#ifndef _WIN32
  using Getter = const char* (*)();
  if (const auto get = reinterpret_cast<Getter>(dlsym(RTLD_DEFAULT, "torch_exception_get_what_without_backtrace")))
    if (const char* words = get()) return words;
#endif
  return "";
}

inline const char* name_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Byte: return "uint8";
    case ScalarType::UInt16: return "uint16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    default: return "numbers";
  }
}

inline int64_t bytes_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double:
    case ScalarType::Long: return 8;
    case ScalarType::Half:
    case ScalarType::BFloat16:
    case ScalarType::UInt16: return 2;
    case ScalarType::Bool:
    case ScalarType::Byte: return 1;
    default: return 4;
  }
}

inline std::string on_cpu(const std::string& bytes) {
  return "DefaultCPUAllocator: can't allocate memory: you tried to allocate " + bytes + " bytes.";
}

// A tensor could not be made.
[[noreturn]] inline void no_memory_for_tensor(Extents sizes, ScalarType dtype, bool is_cpu, int32_t device_index) {
  double bytes = double(bytes_of(dtype));
  std::string shape;
  for (const int64_t size : sizes) {
    bytes *= double(size);
    shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  }
  const std::string number = bytes < 9e18 ? std::to_string(int64_t(bytes)) : "more than 9e18";
  std::string words = torchs_words();
  if (!words.empty() && words.find("memory") == std::string::npos)  // something else, such as more bytes than 64 bits can count
    throw std::runtime_error(name_of_op() + ": can't make a tensor of shape (" + shape + "): " + words);
  if (words.empty())
    words = is_cpu ? on_cpu(number) : "CUDA out of memory. Tried to allocate " + number + " bytes.";
  const std::string where = is_cpu ? "the CPU" : "cuda:" + std::to_string(device_index);
  throw std::runtime_error(name_of_op() + ": can't allocate memory for a tensor of shape (" + shape + "), " +
                           name_of(dtype) + ", " + number + " bytes, on " + where + ": " + words);
}

// A kernel could not get memory of its own.
[[noreturn]] inline void no_memory_for_scratch(int64_t bytes) {
  const std::string number = std::to_string(bytes);
  throw std::runtime_error(name_of_op() + ": can't allocate " + number + " bytes of working memory on the CPU: " +
                           on_cpu(number));
}

}  // namespace spikeops
