// Kernel arguments from numpy arrays. Sequences are (T, N) arrays; options come as a dictionary with the names of
// kernels/math.
#pragma once

#include "../../kernels/math/feedback.h"
#include "../../kernels/math/lif.h"
#include "../../kernels/math/tssl_bp.h"
#include "arrays.h"

namespace spikeops::testing {

using OptionalArray = std::optional<py::array>;

inline DType dtype_of(const std::string& name) {
  if (name == "float32") return DType::f32;
  if (name == "float64") return DType::f64;
  if (name == "float16") return DType::f16;
  if (name == "bfloat16") return DType::bf16;
  throw py::value_error("dtype is float32, float64, float16 or bfloat16, got " + name);
}

inline SpikeFormat format_of(const std::string& name) {
  if (name == "uint8") return SpikeFormat::byte;
  if (name == "int32") return SpikeFormat::int32;
  if (name == "int64") return SpikeFormat::int64;
  return static_cast<SpikeFormat>(dtype_of(name));  // the floating formats have the same numbers
}

inline int64_t rows(const py::array& sequence) { return sequence.shape(0); }
inline int64_t columns(const py::array& sequence) { return sequence.shape(1); }

// x is (T, N), or (N): the same in all of the `time_steps` of the options.
inline LifNeuron lif_neuron(const std::string& dtype, const py::array& x, const OptionalArray& decay_per_neuron,
                            const OptionalArray& v_init, const py::dict& options) {
  const auto number = [&](const char* name) { return options[name].cast<double>(); };
  const bool in_time = x.ndim() == 2;
  return {dtype_of(dtype),
          in_time ? rows(x) : options["time_steps"].cast<int64_t>(),
          in_time ? columns(x) : x.shape(0),
          in_time ? columns(x) : 0,
          number("decay"),
          number("threshold"),
          number("input_scale"),
          number("reset_amount"),
          number("v_reset"),
          number("v_rest"),
          options["reset"].cast<int>(),
          options["strict"].cast<bool>(),
          options["detach_reset"].cast<bool>(),
          read(x),
          read(decay_per_neuron),
          read(v_init)};
}

inline TsslBpNeuron tssl_bp_neuron(const std::string& dtype, const py::array& x, double tau_m, double tau_s, double threshold) {
  return {dtype_of(dtype), rows(x), columns(x), tau_m, tau_s, threshold, read(x)};
}

// `arrays` holds the memory of a step by the names of FeedbackNeuron; those that are left out are absent.
inline FeedbackNeuron feedback_neuron(const std::string& dtype, const py::dict& arrays) {
  const auto given = [&](const char* name) {
    return arrays.contains(name) ? OptionalArray(arrays[name].cast<py::array>()) : std::nullopt;
  };
  const auto spikes = *given("spikes");
  const auto current = given("current"), fired = given("fired");
  return {dtype_of(dtype),
          rows(spikes),
          columns(spikes),
          read(given("drive")),
          read(current),
          current && current->ndim() == 2,
          read(given("factor")),
          write(given("membrane")),
          write(spikes),
          write(given("rate")),
          write(given("count")),
          fired ? pointer<int32_t>(*fired) : nullptr};
}

}  // namespace spikeops::testing
