// All bindings of a device. `Backend` is constructed from a tensor that lives on it, and runs kernels by their arguments.
#pragma once

#include "clamped.h"
#include "convex.h"
#include "count.h"
#include "encode.h"
#include "feedback.h"
#include "lif.h"
#include "local.h"
#include "reduce.h"
#include "synapse.h"
#include "tssl_bp.h"

namespace spikeops {

template <class Backend>
void register_bindings(torch::stable::detail::StableLibrary& m) {
  m.impl("lif_forward", TORCH_BOX(&lif_forward<Backend>));
  m.impl("lif_backward", TORCH_BOX(&lif_backward<Backend>));
  m.impl("lif_rate_forward", TORCH_BOX(&lif_rate_forward<Backend>));
  m.impl("lif_rate_backward", TORCH_BOX(&lif_rate_backward<Backend>));
  m.impl("tssl_bp_forward", TORCH_BOX(&tssl_bp_forward<Backend>));
  m.impl("tssl_bp_backward", TORCH_BOX(&tssl_bp_backward<Backend>));
  m.impl("feedback_step_", TORCH_BOX(&feedback_step<Backend>));
  m.impl("ternary_step_", TORCH_BOX(&ternary_step<Backend>));
  m.impl("local_learning_step_", TORCH_BOX(&local_learning_step<Backend>));
  m.impl("local_gradient_in_time", TORCH_BOX(&local_gradient_in_time<Backend>));
  m.impl("synaptic_filter_forward", TORCH_BOX(&synaptic_filter_forward<Backend>));
  m.impl("synaptic_filter_backward", TORCH_BOX(&synaptic_filter_backward<Backend>));
  m.impl("spike_count", TORCH_BOX(&spike_count<Backend>));
  m.impl("pack_spikes", TORCH_BOX(&pack_spikes<Backend>));
  m.impl("unpack_spikes", TORCH_BOX(&unpack_spikes<Backend>));
  m.impl("poisson_encode", TORCH_BOX(&poisson_encode<Backend>));
  m.impl("latency_encode", TORCH_BOX(&latency_encode<Backend>));
  m.impl("clamped_lif_forward", TORCH_BOX(&clamped_lif_forward<Backend>));
  m.impl("clamped_lif_backward", TORCH_BOX(&clamped_lif_backward<Backend>));
  m.impl("convex_snn_trial", TORCH_BOX(&convex_snn_trial<Backend>));
  m.impl("row_sum", TORCH_BOX(&row_sum<Backend>));
}

}  // namespace spikeops
