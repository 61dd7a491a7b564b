// Checks of the tensors of a step in place. Steps are called for every layer and time step, so that all arguments are checked here,
// where it costs little; spikeops/functional/_in_place.py explains a refusal in words.
#pragma once

#include "common.h"

namespace spikeops {

// Compares the other tensors of a call with its membrane potentials (...), whose memory is walked. Sequences are (T, ...).
class InPlaceCall {
 public:
  void require(bool good, const char* name) const {
    STD_TORCH_CHECK(good, op_, ": expected another dtype, shape, device or memory order of ", name, " (see spikeops.functional.", op_,
                    ")");
  }

  bool same_device(const Tensor& x) const {
    return x.is_cpu() == membrane_.is_cpu() && x.get_device() == membrane_.get_device();
  }

 protected:
  InPlaceCall(const char* op, const Tensor& membrane, ScalarType data, int64_t steps)
      : op_(op), membrane_(membrane), data_(data), N_(membrane.numel()), T_(steps) {
    require(N_ == 0 || is_dense(membrane.sizes(), membrane.strides()), "membrane");
  }

  // Shape (...) like the membrane, or (T, ...) for a sequence, whose time axis may be left out where T is 1.
  bool fits(const Tensor& x, bool is_sequence) const {
    const auto sizes = x.sizes(), step = membrane_.sizes();
    const size_t time_axes = sizes.size() - step.size();
    if (time_axes > (is_sequence ? 1 : 0) || (time_axes == 1 ? sizes[0] : 1) != (is_sequence ? T_ : 1)) return false;
    for (size_t d = 0; d < step.size(); ++d)
      if (sizes[d + time_axes] != step[d]) return false;
    return same_device(x);
  }

  // For tensors that fit: whether memory can be walked along with the membrane's.
  bool same_order(const Tensor& x) const {
    const auto sizes = membrane_.sizes(), step = membrane_.strides(), strides = x.strides();
    const size_t time_axes = strides.size() - step.size();
    if (N_ == 0) return true;
    for (size_t d = 0; d < step.size(); ++d)
      if (sizes[d] != 1 && strides[d + time_axes] != step[d]) return false;
    return time_axes == 0 || T_ == 1 || strides[0] == N_;
  }

  // A tensor (...) that is written.
  void* written(const Tensor& x, ScalarType dtype, const char* name) const {
    require(x.scalar_type() == dtype && fits(x, false) && same_order(x), name);
    return write(x);
  }

  // What is only read, itself where its memory order allows, else a copy that is kept in `keep`.
  const void* input(const OptionalTensor& x, bool is_sequence, OptionalTensor& keep, const char* name) const {
    if (!x) return nullptr;
    require(x->scalar_type() == data_ && fits(*x, is_sequence), name);
    if (same_order(*x)) return read(*x);
    Dims sizes = sizes_of(*x), strides = strides_of(membrane_);
    if (sizes.size() > strides.size()) strides.insert(strides.begin(), N_);
    keep = as_layout(*x, sizes, strides, data_);
    return read(*keep);
  }

  const char* const op_;
  const Tensor& membrane_;
  const ScalarType data_;
  const int64_t N_, T_;
};

}  // namespace spikeops
