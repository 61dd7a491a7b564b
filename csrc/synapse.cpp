// Synaptic filter bindings, for every device.
#include "../kernels/math/synapse.h"
#include "ops.h"

namespace spikeops {
namespace {

template <class Args>
Tensor synaptic_filter(const Tensor& x, double tau_s) {
  Backend backend(x);
  const Sequence in(x);
  Tensor out = in.empty_sequence();
  backend.run(Args{{dtype_of("synaptic_filter", x), in.T, in.N, tau_s, read(in.tensor), write(out)}});
  return out;
}

Tensor synaptic_filter_forward(const Tensor& x, double tau_s) { return synaptic_filter<SynapticFilterForward>(x, tau_s); }

Tensor synaptic_filter_backward(const Tensor& grad_psc, double tau_s) {
  return synaptic_filter<SynapticFilterBackward>(grad_psc, tau_s);
}

}  // namespace

SPIKEOPS_OPS(synapse) {
  SPIKEOPS_OP(synaptic_filter_forward, "synaptic_filter_forward(Tensor x, float tau_s) -> Tensor");
  SPIKEOPS_OP(synaptic_filter_backward, "synaptic_filter_backward(Tensor grad_psc, float tau_s) -> Tensor");
}

}  // namespace spikeops
