// The raw kernels in Python, the same functions for both backends: spikeops_testing.cpu and spikeops_testing.cuda (on the
// host).
#include <limits>
#include <tuple>
#include <vector>

#include "../../kernels/cpu/kernels.h"
#include "../../kernels/cuda/launch.h"
#include "../../kernels/math/row_sum.h"
#include "op_arguments.h"

namespace spikeops::testing {
namespace {

// The CPU kernels, on one thread.
struct Cpu {
  const cpu::Kernels& k = cpu::kernels();
  void run(const LifForward& a) const { k.lif_forward(a, 0, a.neuron.N); }
  void run(const LifRateForward& a) const { k.lif_rate_forward(a, 0, a.neuron.N); }
  void run(const LifBackward& a) const { k.lif_backward(a, 0, a.neuron.N); }
  void run(const TsslBpForward& a) const { k.tssl_bp_forward(a, 0, a.neuron.N); }
  void run(const TsslBpBackward& a) const { k.tssl_bp_backward(a, 0, a.neuron.N); }
  void run(const FeedbackStep& a) const { cpu::start(a.neuron), k.feedback_step(a, 0, a.neuron.N); }
  void run(const TernaryStep& a) const { cpu::start(a.neuron), k.ternary_step(a, 0, a.neuron.N); }
  void run(const LocalLearningStep& a) const { k.local_learning_step(a, 0, a.N); }
  void run(const LocalGradientInTime& a) const { k.local_gradient_in_time(a, 0, a.N); }
  void run_forward(const SynapticFilter& a) const { k.synaptic_filter_forward(a, 0, a.N); }
  void run_backward(const SynapticFilter& a) const { k.synaptic_filter_backward(a, 0, a.N); }
  void run(const SpikeCount& a) const { k.spike_count(a, 0, a.N); }
  void run(const PackedCount& a) const { k.packed_count(a, 0, a.N); }
  void run_pack(const Pack& a) const { k.pack_spikes(a, 0, a.N); }
  void run_unpack(const Pack& a) const { k.unpack_spikes(a, 0, a.N); }
  void run(const PoissonEncode& a) const { k.poisson_encode(a, 0, a.N); }
  void run(const LatencyEncode& a) const { k.latency_encode(a, 0, a.N); }
  void run(const ClampedForward& a) const { k.clamped_forward(a, 0, a.N); }
  void run(const ClampedThresholds& a) const {
    k.clamped_partials(a, 0, clamped_blocks(a.outer, a.inner));
    k.clamped_thresholds(a, 0, a.C);
  }
  void run(const ConvexTrials& a) const { k.convex_trials(a, 0, a.B); }
  void run(const RowSum& a) const {
    k.row_sum_blocks(a, 0, a.rows * ((a.columns + kRowSumBlock - 1) / kRowSumBlock));
    k.row_sum_rows(a, 0, a.rows);
  }
};

// The CUDA kernels, compiled for the host. Their launchers throw instead of returning an error.
struct CudaHost {
  void run(const LifForward& a) const { cuda::lif_forward(a, nullptr); }
  void run(const LifRateForward& a) const { cuda::lif_rate_forward(a, nullptr); }
  void run(const LifBackward& a) const {
    with_scratch(a.neuron.dtype, cuda::lif_backward_scratch(a.neuron.T, a.neuron.N),
                 [&](void* scratch) { cuda::lif_backward(a, scratch, nullptr); });
  }
  void run(const TsslBpForward& a) const { cuda::tssl_bp_forward(a, nullptr); }
  void run(const TsslBpBackward& a) const {
    with_scratch(a.neuron.dtype, cuda::tssl_bp_backward_scratch(a.neuron.T, a.neuron.N),
                 [&](void* scratch) { cuda::tssl_bp_backward(a, scratch, nullptr); });
  }
  void run(const FeedbackStep& a) const { cuda::feedback_step(a, nullptr); }
  void run(const TernaryStep& a) const { cuda::ternary_step(a, nullptr); }
  void run(const LocalLearningStep& a) const { cuda::local_learning_step(a, nullptr); }
  void run(const LocalGradientInTime& a) const { cuda::local_gradient_in_time(a, nullptr); }
  void run_forward(const SynapticFilter& a) const { cuda::synaptic_filter_forward(a, nullptr); }
  void run_backward(const SynapticFilter& a) const { cuda::synaptic_filter_backward(a, nullptr); }
  void run(const SpikeCount& a) const { cuda::spike_count(a, nullptr); }
  void run(const PackedCount& a) const { cuda::packed_spike_count(a, nullptr); }
  void run_pack(const Pack& a) const { cuda::pack_spikes(a, nullptr); }
  void run_unpack(const Pack& a) const { cuda::unpack_spikes(a, nullptr); }
  void run(const PoissonEncode& a) const { cuda::poisson_encode(a, nullptr); }
  void run(const LatencyEncode& a) const { cuda::latency_encode(a, nullptr); }
  void run(const ClampedForward& a) const { cuda::clamped_forward(a, nullptr); }
  void run(const ClampedThresholds& a) const { cuda::clamped_thresholds(a, nullptr); }
  void run(const ConvexTrials& a) const {
    with_scratch(a.dtype, cuda::convex_trials_scratch(a), [&](void* scratch) { cuda::convex_trials(a, scratch, nullptr); });
  }
  void run(const RowSum& a) const { cuda::row_sum(a, nullptr); }

 private:
  template <class Run>
  static void with_scratch(DType dtype, int64_t count, Run run) {
    if (dtype == DType::f64) return run(std::vector<double>(count, std::numeric_limits<double>::quiet_NaN()).data());
    run(std::vector<float>(count, std::numeric_limits<float>::quiet_NaN()).data());
  }
};

template <class Backend>
void bind_lif(py::module_& m) {
  m.def("lif_forward", [](const std::string& dtype, py::array x, OptionalArray decay, OptionalArray v_init, py::dict options,
                          py::array spikes, py::array v_last) {
    Backend().run(LifForward{lif_neuron(dtype, x, decay, v_init, options), write(spikes), write(v_last)});
  });
  m.def("lif_rate_forward", [](const std::string& dtype, py::array x, OptionalArray decay, OptionalArray v_init,
                               py::dict options, int weighting, py::array rate) {
    Backend().run(LifRateForward{lif_neuron(dtype, x, decay, v_init, options), weighting, write(rate)});
  });
  m.def(
      "lif_backward",
      [](const std::string& dtype, py::array x, OptionalArray decay, OptionalArray v_init, py::dict options,
         std::tuple<int, double, double> surrogate, py::array grad_x, OptionalArray grad_spikes, OptionalArray grad_rate,
         int weighting, OptionalArray grad_v_last, OptionalArray grad_decay, OptionalArray grad_v_init) {
        const auto [kind, scale, peak] = surrogate;
        Backend().run(LifBackward{lif_neuron(dtype, x, decay, v_init, options), kind, scale, peak, read(grad_spikes),
                                  read(grad_rate), weighting, read(grad_v_last), write(grad_x), write(grad_decay),
                                  write(grad_v_init)});
      },
      py::arg("dtype"), py::arg("x"), py::arg("decay"), py::arg("v_init"), py::arg("options"), py::arg("surrogate"),
      py::arg("grad_x"), py::kw_only(), py::arg("grad_spikes") = py::none(), py::arg("grad_rate") = py::none(),
      py::arg("weighting") = 0, py::arg("grad_v_last") = py::none(), py::arg("grad_decay") = py::none(),
      py::arg("grad_v_init") = py::none());
}

template <class Backend>
void bind_tssl_bp_and_synapse(py::module_& m) {
  m.def("tssl_bp_forward", [](const std::string& dtype, py::array x, double tau_m, double tau_s, double threshold,
                              py::array psc, OptionalArray spikes) {
    Backend().run(TsslBpForward{tssl_bp_neuron(dtype, x, tau_m, tau_s, threshold), write(psc), write(spikes)});
  });
  m.def("tssl_bp_backward", [](const std::string& dtype, py::array grad_psc, py::array x, double tau_m, double tau_s,
                               double threshold, py::array grad_x) {
    Backend().run(TsslBpBackward{tssl_bp_neuron(dtype, x, tau_m, tau_s, threshold), read(grad_psc), write(grad_x)});
  });
  m.def("synaptic_filter_forward", [](const std::string& dtype, py::array x, double tau_s, py::array psc) {
    Backend().run_forward(SynapticFilter{dtype_of(dtype), rows(x), columns(x), tau_s, read(x), write(psc)});
  });
  m.def("synaptic_filter_backward", [](const std::string& dtype, py::array grad_psc, double tau_s, py::array grad_x) {
    Backend().run_backward(
        SynapticFilter{dtype_of(dtype), rows(grad_psc), columns(grad_psc), tau_s, read(grad_psc), write(grad_x)});
  });
}

template <class Backend>
void bind_feedback(py::module_& m) {
  m.def("feedback_step", [](const std::string& dtype, py::dict arrays, double leak, double threshold, double reset_amount) {
    Backend().run(FeedbackStep{feedback_neuron(dtype, arrays), leak, threshold, reset_amount});
  });
  m.def("ternary_step",
        [](const std::string& dtype, py::dict arrays, double drive_scale, double leak, double threshold, double amplitude) {
          Backend().run(TernaryStep{feedback_neuron(dtype, arrays), drive_scale, leak, threshold, amplitude});
        });
}

template <class Backend>
void bind_clamped(py::module_& m) {
  m.def("clamped_forward", [](const std::string& dtype, py::array x, py::array threshold, int64_t T, int64_t inner, double dt,
                              double leak, py::array count, py::array v) {
    Backend().run(ClampedForward{dtype_of(dtype), T, x.size(), threshold.size(), inner, dt, leak, read(x), read(threshold),
                                 write(count), write(v)});
  });
  m.def("clamped_thresholds", [](const std::string& dtype, py::array grad_v, py::array count, int64_t inner, int64_t samples,
                                 double gain, double drift, py::array grad) {
    const int64_t C = grad.size(), outer = count.size() / std::max<int64_t>(C * inner, 1);
    std::vector<double> partials(clamped_blocks(outer, inner) * C, std::numeric_limits<double>::quiet_NaN());
    Backend().run(ClampedThresholds{dtype_of(dtype), outer, C, inner, samples, gain, drift, read(grad_v), read(count),
                                    partials.data(), write(grad)});
  });
}

// Arrays by the names of kernels/args.h; absent ones are null.
template <class Backend>
void bind_local(py::module_& m) {
  using Neuron = std::tuple<double, double, std::tuple<int, double, double>>;  // decay, threshold, surrogate
  m.def("local_learning_step", [](const std::string& dtype, py::dict arrays, Neuron numbers, double error_scale) {
    const auto array = [&](const char* name) {
      return arrays.contains(name) ? OptionalArray(arrays[name].cast<py::array>()) : std::nullopt;
    };
    const py::array membrane = *array("membrane"), weight = *array("weight");
    LocalLearningStep a{};
    a.dtype = dtype_of(dtype), a.N = rows(membrane), a.U = columns(membrane), a.K = rows(weight);
    a.decay = std::get<0>(numbers), a.threshold = std::get<1>(numbers);
    std::tie(a.surrogate, a.surrogate_scale, a.surrogate_peak) = std::get<2>(numbers);
    a.error_scale = error_scale;
    a.current = read(array("current")), a.weight = read(weight);
    a.feedback = arrays.contains("feedback") ? read(array("feedback")) : a.weight;
    a.labels = static_cast<const int64_t*>(read(array("labels")));
    a.membrane = write(membrane), a.spikes = write(array("spikes")), a.gradient = write(array("gradient"));
    a.derivative = arrays.contains("derivative") ? write(array("derivative")) : a.gradient;
    a.trace = write(array("trace"));
    a.class_membrane = write(array("class_membrane")), a.count = write(array("count"));
    a.squared_error = write(array("squared_error")), a.error = write(array("error"));
    a.class_derivative = write(array("class_derivative"));
    Backend().run(a);
  });
  m.def("local_gradient_in_time", [](const std::string& dtype, py::array gradient, py::array derivatives, double decay,
                                     double threshold, py::array gradients) {
    Backend().run(LocalGradientInTime{dtype_of(dtype), rows(derivatives), columns(derivatives), decay, threshold, read(gradient),
                                      read(derivatives), write(gradients)});
  });
}

template <class Backend>
void bind_count_and_pack(py::module_& m) {
  m.def("spike_count", [](const std::string& format, py::array spikes, py::array count) {
    Backend().run(SpikeCount{format_of(format), rows(spikes), columns(spikes), read(spikes), write(count)});
  });
  m.def("packed_spike_count", [](py::array packed, py::array count) {
    Backend().run(PackedCount{rows(packed), columns(packed), read(packed), pointer<int32_t>(count)});
  });
  m.def("pack_spikes", [](const std::string& format, py::array spikes, py::array packed) {
    Backend().run_pack(Pack{format_of(format), rows(spikes), columns(spikes), write(spikes), write(packed)});
  });
  m.def("unpack_spikes", [](const std::string& format, py::array packed, py::array spikes) {
    Backend().run_unpack(Pack{format_of(format), rows(spikes), columns(spikes), write(spikes), write(packed)});
  });
}

template <class Backend>
void bind_encode_and_reduce(py::module_& m) {
  m.def("poisson_encode", [](const std::string& dtype, py::array p, int64_t seed, py::array spikes) {
    Backend().run(PoissonEncode{dtype_of(dtype), rows(spikes), columns(spikes), read(p), &seed, write(spikes)});
  });
  m.def("latency_encode", [](const std::string& dtype, py::array p, py::array spikes) {
    Backend().run(LatencyEncode{dtype_of(dtype), rows(spikes), columns(spikes), read(p), write(spikes)});
  });
  m.def("row_sum", [](py::array x, py::array out) {
    std::vector<double> partials(rows(x) * ((columns(x) + kRowSumBlock - 1) / kRowSumBlock),
                                 std::numeric_limits<double>::quiet_NaN());
    Backend().run(RowSum{x.itemsize() == sizeof(double), rows(x), columns(x), read(x), write(out), partials.data()});
  });
}

// Arrays by the names of kernels/args.h; absent ones are null.
template <class Backend>
void bind_convex(py::module_& m) {
  m.def("convex_trials", [](const std::string& dtype, py::dict arrays, py::dict numbers) {
    const auto number = [&](const char* name) { return numbers[name].cast<double>(); };
    const auto array = [&](const char* name) {
      return arrays.contains(name) ? OptionalArray(arrays[name].cast<py::array>()) : std::nullopt;
    };
    const py::array x = *array("x"), readout = *array("readout"), spikes = *array("spikes");
    const OptionalArray seed = array("seed"), encoder = array("encoder");
    ConvexTrials args{};
    args.dtype = dtype_of(dtype);
    args.T = x.shape(0) - 1, args.B = x.shape(1), args.K = x.shape(2);
    args.N = array("thresholds")->shape(0), args.M = readout.shape(2), args.Y = encoder ? encoder->shape(1) : 0;
    args.dt = number("dt"), args.leak = number("leak"), args.spike_cost = number("spike_cost"), args.sigma_v = number("sigma_v");
    args.feedforward_rate = number("feedforward_rate"), args.threshold_rate = number("threshold_rate");
    args.forgetting = number("forgetting"), args.change = number("change"), args.hold = number("hold");
    args.threshold_drift = number("threshold_drift"), args.buffer_steps = numbers["buffer_steps"].cast<int64_t>();
    args.x = read(x), args.recurrent = read(array("recurrent")), args.decoder = read(array("decoder"));
    args.noise = read(array("noise")), args.targets = read(array("targets")), args.encoder = read(encoder);
    args.seed = static_cast<const int64_t*>(read(seed));
    args.feedforward = write(array("feedforward")), args.feedforward_rows = write(array("feedforward_rows"));
    args.thresholds = write(array("thresholds"));
    args.spikes = static_cast<int32_t*>(write(spikes)), args.readout = write(readout);
    Backend().run(args);
  });
}

template <class Backend>
void bind_backend(py::module_& parent, const char* name) {
  auto m = parent.def_submodule(name);
  bind_lif<Backend>(m);
  bind_tssl_bp_and_synapse<Backend>(m);
  bind_feedback<Backend>(m);
  bind_local<Backend>(m);
  bind_count_and_pack<Backend>(m);
  bind_encode_and_reduce<Backend>(m);
  bind_clamped<Backend>(m);
  bind_convex<Backend>(m);
}

}  // namespace

void bind_ops(py::module_& module) {
  bind_backend<Cpu>(module, "cpu");
  bind_backend<CudaHost>(module, "cuda");
  module.def("error_remedy", &cuda::error_remedy);
}

}  // namespace spikeops::testing
