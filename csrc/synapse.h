// Synaptic filter bindings, for every device.
#pragma once

#include "common.h"

namespace spikeops {

template <class Backend, bool forward>
Tensor synaptic_filter(const Tensor& x, double tau_s) {
  Backend backend(x);
  const Sequence in(x);
  Tensor out = in.empty_sequence();
  const SynapticFilter args{dtype_of("synaptic_filter", x), in.T, in.N, tau_s, read(in.tensor), write(out)};
  if constexpr (forward) backend.run_forward(args);
  else backend.run_backward(args);
  return out;
}

template <class Backend>
Tensor synaptic_filter_forward(const Tensor& x, double tau_s) { return synaptic_filter<Backend, true>(x, tau_s); }

template <class Backend>
Tensor synaptic_filter_backward(const Tensor& grad_psc, double tau_s) { return synaptic_filter<Backend, false>(grad_psc, tau_s); }

}  // namespace spikeops
