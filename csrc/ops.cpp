// The contract: every op's schema. Kernels are registered per device in csrc/cpu and csrc/cuda; autograd formulas and fake
// kernels in spikeops/functional. Enumerations travel as int (kernels/math), options as plain numbers.
//
// T is the first axis. Any layout of a time step that is dense in memory is walked as it is and kept by the outputs; other
// input is copied first. `decay_tensor` and `v_init` are broadcast to one time step's shape. Absent gradients come back as
// empty tensors, since the number of returns is fixed.
#include <torch/csrc/stable/library.h>

// The many options of LIF neurons travel as two lists, since PyTorch's Python side of an op costs time for every argument:
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest, surrogate_scale, surrogate_peak
//   modes: reset, strict, detach_reset, surrogate, time_steps: 0, or the number of time steps where x has no time axis and is the
//     same in all of them; its gradient is then summed over them
#define LIF_NEURON "Tensor x, Tensor? decay_tensor, Tensor? v_init, float[] numbers, int[] modes"

// Steps of feedback networks: `factor` is the mask of the drive, or the gate of ternary spikes.
#define FEEDBACK_NEURON \
  "Tensor(a!) membrane, Tensor(b!) spikes, Tensor(c!) rate, Tensor? drive, Tensor? current, Tensor? factor, " \
  "Tensor(d!)? count, Tensor(e!)? fired"

STABLE_TORCH_LIBRARY(spikeops, m) {
  m.def("lif_forward(" LIF_NEURON ") -> (Tensor spikes, Tensor v_last)");
  m.def("lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, " LIF_NEURON ", bool need_decay, bool need_v_init)"
        " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_v_init)");
  m.def("lif_rate_forward(" LIF_NEURON ", int weighting) -> Tensor");
  m.def("lif_rate_backward(Tensor grad_rate, " LIF_NEURON ", int weighting, bool need_decay, bool need_v_init)"
        " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_v_init)");

  m.def("tssl_bp_forward(Tensor x, float tau_m, float tau_s, float threshold, bool return_spikes)"
        " -> (Tensor psc, Tensor spikes)");
  m.def("tssl_bp_backward(Tensor grad_psc, Tensor x, float tau_m, float tau_s, float threshold) -> Tensor");

  m.def("feedback_step_(" FEEDBACK_NEURON ", float leak, float threshold, float reset_amount) -> ()");
  m.def("ternary_step_(" FEEDBACK_NEURON ", float drive_scale, float leak, float threshold, float amplitude) -> ()");

  // numbers: decay, threshold, surrogate_scale, surrogate_peak, error_scale
  m.def("local_learning_step_(Tensor(a!) membrane, Tensor(b!) spikes, Tensor(c!) gradient, Tensor(d!)? derivative,"
        " Tensor(e!)? trace, Tensor(f!) class_membrane, Tensor(g!) count, Tensor(h!) squared_error, Tensor(i!) error,"
        " Tensor(j!)? class_derivative, Tensor current, Tensor weight, Tensor? feedback, Tensor labels, float[] numbers,"
        " int surrogate) -> ()");
  m.def("local_gradient_in_time(Tensor gradient, Tensor derivatives, float decay, float threshold) -> Tensor");

  m.def("synaptic_filter_forward(Tensor x, float tau_s) -> Tensor");
  m.def("synaptic_filter_backward(Tensor grad_psc, float tau_s) -> Tensor");

  m.def("spike_count(Tensor spikes) -> Tensor");
  m.def("pack_spikes(Tensor spikes) -> Tensor");
  m.def("unpack_spikes(Tensor packed, int T, ScalarType dtype) -> Tensor");

  m.def("poisson_encode(Tensor p, int T, Tensor seed) -> Tensor");
  m.def("latency_encode(Tensor p, int T) -> Tensor");

  // numbers: dt, leak, and for the backward pass threshold_gain, threshold_drift. The backward pass is that of the thresholds: the
  // gradient of x is that of v.
  m.def("clamped_lif_forward(Tensor x, Tensor threshold, float[] numbers, int T) -> (Tensor count, Tensor v)");
  m.def("clamped_lif_backward(Tensor grad_v, Tensor count, float[] numbers) -> Tensor grad_threshold");

  // numbers: dt, leak, spike_cost, sigma_v, feedforward_rate, threshold_rate, threshold_drift, forgetting, change, hold. Learns if
  // there are targets; the last two outputs are empty if there are none.
  m.def("convex_snn_trial(Tensor x, Tensor feedforward, Tensor recurrent, Tensor thresholds, Tensor? decoder, Tensor? noise,"
        " Tensor? seed, Tensor? targets, Tensor? encoder, float[] numbers, int buffer_steps)"
        " -> (Tensor spikes, Tensor readout, Tensor feedforward_learned, Tensor thresholds_learned)");

  m.def("event_conv_(Tensor(a!) out, Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation,"
        " bool transposed) -> ()");
  m.def("event_conv_weight(Tensor x, Tensor grad_out, int[] kernel_size, int[] stride, int[] padding, int[] dilation, int parts)"
        " -> Tensor");

  m.def("row_sum(Tensor x) -> Tensor");
}
