// What all bindings share: layout, allocation, dtypes. Only the stable headers of torch are included, so that one binary works
// with every torch from 2.10 on.
//
// Layout rule (also in spikeops/_layout.py): a tensor (T, ...) whose steps are dense in memory, one after the other,
// is walked as flat memory (T, N), whatever the order of the other dimensions; everything else is made contiguous first.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "../kernels/math/args.h"
#include "memory.h"

namespace spikeops {

using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Numbers = std::vector<double>;  // many numbers travel as one list: each argument of an op costs Python time

inline Dims sizes_of(const Tensor& x) { return Dims(x.sizes().begin(), x.sizes().end()); }
inline Dims strides_of(const Tensor& x) { return Dims(x.strides().begin(), x.strides().end()); }

// Whether a second tensor of an op for the CPU goes with its first one.
inline bool is_like(const Tensor& x, const Tensor& first) { return x.scalar_type() == first.scalar_type() && x.is_cpu(); }

inline int64_t product(Extents sizes) {
  int64_t n = 1;
  for (const int64_t size : sizes) n *= size;
  return n;
}

// Of a tensor that is not empty.
inline bool is_dense(Extents sizes, Extents strides) {
  const int64_t elements = product(sizes);
  for (int64_t expected = 1; expected != elements;) {
    size_t d = 0;
    while (d < sizes.size() && (sizes[d] == 1 || strides[d] != expected)) ++d;
    if (d == sizes.size()) return false;
    expected *= sizes[d];
  }
  return true;
}

// Uninitialised. The tests have memory of their own (csrc/cuda_host/memory.h).
#if defined(SPIKEOPS_MEMORY_OF_TESTS)
Tensor empty_strided(const Tensor& device_of, Extents sizes, Extents strides, ScalarType dtype);
#else
inline Tensor empty_strided(const Tensor& device_of, Extents sizes, Extents strides, ScalarType dtype) {
  int32_t device_type, device_index;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(device_of.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(device_of.get(), &device_index));
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle;
  if (aoti_torch_empty_strided(int64_t(sizes.size()), sizes.data(), strides.data(), code, device_type, device_index, &handle))
    no_memory_for_tensor(sizes, dtype, device_type == aoti_torch_device_type_cpu(), device_index);
  return Tensor(handle);
}
#endif

// An absent output, None in Python: an undefined tensor, as PyTorch's own ops return where no gradient is asked for.
inline Tensor nothing() { return Tensor(); }

inline Dims contiguous_strides(Extents sizes) {
  Dims strides(sizes.size(), 1);
  for (size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * std::max<int64_t>(sizes[d], 1);
  return strides;
}

// `value` in the given layout and dtype: itself if it is so already, else a copy. Broadcasts.
inline Tensor as_layout(const Tensor& value, Extents sizes, Extents strides, ScalarType dtype) {
  if (value.scalar_type() == dtype && value.sizes() == sizes && value.strides() == strides) return value;
  Tensor copy = empty_strided(value, sizes, strides, dtype);
  torch::stable::copy_(copy, value);
  return copy;
}
// The same for its own sizes, one row behind the other.
inline Tensor as_contiguous(const Tensor& x) { return as_layout(x, x.sizes(), contiguous_strides(x.sizes()), x.scalar_type()); }

// A tensor (T, ...) that can be walked as (T, N).
struct Sequence {
  explicit Sequence(const Tensor& x) : Sequence(x, true, 0) {}

  // A tensor (...) without a time axis, walked as (N), and what belongs to the sequence (T, ...) that repeats it.
  static Sequence one_step(const Tensor& x, int64_t T = 1) { return Sequence(x, false, T); }

  Tensor tensor;
  int64_t T, N;

  Extents step_sizes() const { return Extents(sizes).slice(1); }
  Extents step_strides() const { return Extents(strides).slice(1); }

  // Uninitialised tensors in the same order of dimensions.
  Tensor empty_sequence(int64_t steps, ScalarType dtype) const { return empty_strided(tensor, sizes_for(steps), strides, dtype); }
  Tensor empty_sequence() const { return empty_strided(tensor, sizes, strides, tensor.scalar_type()); }
  Tensor empty_step(ScalarType dtype) const { return empty_strided(tensor, step_sizes(), step_strides(), dtype); }

  // Another tensor in the layout of this one.
  Tensor like_sequence(const Tensor& value) const { return like_sequence(value, sizes, tensor.scalar_type()); }
  Tensor like_sequence(const Tensor& value, int64_t steps, ScalarType dtype) const { return like_sequence(value, sizes_for(steps), dtype); }
  Tensor like_step(const Tensor& value, ScalarType dtype) const { return as_layout(value, step_sizes(), step_strides(), dtype); }

 private:
  Tensor like_sequence(const Tensor& value, const Dims& wanted, ScalarType dtype) const {
    STD_TORCH_CHECK(value.sizes() == Extents(wanted), "spikeops: expected a gradient of the shape of its tensor");
    return as_layout(value, wanted, strides, dtype);
  }

  Dims sizes_for(int64_t steps) const {
    Dims wanted = sizes;
    wanted[0] = steps;
    return wanted;
  }

  Sequence(const Tensor& x, bool has_time, int64_t steps) : tensor(x) {
    STD_TORCH_CHECK(!has_time || x.dim() >= 1, "spikeops: expected a tensor (T, ...) with the time steps first, got a 0-d tensor");
    const size_t first = has_time ? 1 : 0;
    const Extents step = x.sizes().slice(first);
    T = has_time ? x.size(0) : steps;
    N = product(step);
    const bool steps_follow = !has_time || T == 1 || x.stride(0) == N;
    if (x.numel() != 0 && !(steps_follow && is_dense(step, x.strides().slice(first)))) tensor = as_contiguous(x);
    const Extents step_strides = tensor.strides().slice(first);
    sizes.reserve(1 + step.size());
    sizes.push_back(T);
    sizes.insert(sizes.end(), step.begin(), step.end());
    strides.reserve(1 + step.size());
    strides.push_back(N);
    strides.insert(strides.end(), step_strides.begin(), step_strides.end());
  }

  Dims sizes, strides;  // of the sequence
};

inline DType dtype_of(const char* op, const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Float: return DType::f32;
    case ScalarType::Double: return DType::f64;
    case ScalarType::Half: return DType::f16;
    case ScalarType::BFloat16: return DType::bf16;
    default: STD_TORCH_CHECK(false, op, ": expected x to be float32, float64, float16 or bfloat16");
  }
}

inline SpikeFormat format_of(const char* op, ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return SpikeFormat::f32;
    case ScalarType::Double: return SpikeFormat::f64;
    case ScalarType::Half: return SpikeFormat::f16;
    case ScalarType::BFloat16: return SpikeFormat::bf16;
    case ScalarType::Bool:
    case ScalarType::Byte: return SpikeFormat::byte;
    case ScalarType::Int: return SpikeFormat::int32;
    case ScalarType::Long: return SpikeFormat::int64;
    default: STD_TORCH_CHECK(false, op, ": expected spikes to be floating, bool, uint8, int32 or int64");
  }
}

inline ScalarType state_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Whether numbers are finite in the precision of the state: from 3.4028235677973366e38 on, float32 rounds to infinity.
inline bool are_finite(const Tensor& data, std::initializer_list<double> numbers) {
  const bool is_double = state_type(data) == ScalarType::Double;
  for (const double number : numbers)
    if (!std::isfinite(number) || (!is_double && std::abs(number) >= 3.4028235677973366e38)) return false;
  return true;
}

inline const void* read(const Tensor& x) { return x.const_data_ptr(); }
inline const void* read(const OptionalTensor& x) { return x ? x->const_data_ptr() : nullptr; }
// Numbers of each neuron in the layout of a step, which `kept` keeps alive; or, where the tensor is a single one on the CPU, nothing, and
// that one in `of_all`: it need not be spread over all neurons first.
inline const void* per_neuron(const Sequence& x, const OptionalTensor& given, ScalarType state, OptionalTensor& kept, double& of_all) {
  if (!given) return nullptr;
  if (given->numel() == 1 && given->is_cpu() && given->scalar_type() == state && size_t(given->dim()) <= x.step_sizes().size()) {
    of_all = state == ScalarType::Double ? *static_cast<const double*>(read(*given)) : *static_cast<const float*>(read(*given));
    return nullptr;
  }
  kept = x.like_step(*given, state);
  return read(kept);
}

inline void* write(const Tensor& x) { return x.mutable_data_ptr(); }

}  // namespace spikeops
