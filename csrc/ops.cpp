// The contract: every op's schema. Kernels are registered per device in csrc/cpu and csrc/cuda; autograd formulas and fake
// kernels in spikeops/functional. Enumerations travel as int (kernels/math), options as plain numbers.
//
// T is the first axis. Any layout of a time step that is dense in memory is walked as it is and kept by the outputs; other
// input is copied first. `decay_tensor` and `v_init` are broadcast to one time step's shape. Absent gradients come back as
// empty tensors, since the number of returns is fixed.
#include <torch/csrc/stable/library.h>

#define LIF_NEURON                                                                                                   \
  "Tensor x, float decay, Tensor? decay_tensor, Tensor? v_init, float threshold, float input_scale, int reset, "     \
  "float reset_amount, float v_reset, float v_rest, bool strict, bool detach_reset, "                                \
  "int surrogate, float surrogate_scale, float surrogate_peak"

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

  m.def("synaptic_filter_forward(Tensor x, float tau_s) -> Tensor");
  m.def("synaptic_filter_backward(Tensor grad_psc, float tau_s) -> Tensor");

  m.def("spike_count(Tensor spikes) -> Tensor");
  m.def("pack_spikes(Tensor spikes) -> Tensor");
  m.def("unpack_spikes(Tensor packed, int T, ScalarType dtype) -> Tensor");

  m.def("poisson_encode(Tensor p, int T, Tensor seed) -> Tensor");
  m.def("latency_encode(Tensor p, int T) -> Tensor");

  m.def("row_sum(Tensor x) -> Tensor");
}
