// TSSL-BP bindings, for every device.
#include "../kernels/math/tssl_bp.h"
#include "ops.h"

namespace spikeops {
namespace {

std::tuple<Tensor, Tensor> tssl_bp_forward(const Tensor& x, double tau_m, double tau_s, double threshold, bool return_spikes) {
  Backend backend(x);
  const Sequence in(x);
  Tensor psc = in.empty_sequence();
  Tensor spikes = return_spikes ? in.empty_sequence() : nothing();
  const TsslBpNeuron neuron{dtype_of("tssl_bp", x), in.T, in.N, tau_m, tau_s, threshold, read(in.tensor)};
  backend.run(TsslBpForward{neuron, write(psc), return_spikes ? write(spikes) : nullptr});
  return {psc, spikes};
}

Tensor tssl_bp_backward(const Tensor& grad_psc, const Tensor& x, double tau_m, double tau_s, double threshold) {
  Backend backend(x);
  const Sequence in(x);
  const Tensor grad = in.like_sequence(grad_psc);
  Tensor grad_x = in.empty_sequence();
  const TsslBpNeuron neuron{dtype_of("tssl_bp", x), in.T, in.N, tau_m, tau_s, threshold, read(in.tensor)};
  backend.run(TsslBpBackward{neuron, read(grad), write(grad_x)});
  return grad_x;
}

}  // namespace

SPIKEOPS_OPS(tssl_bp) {
  SPIKEOPS_OP(tssl_bp_forward,
          "tssl_bp_forward(Tensor x, float tau_m, float tau_s, float threshold, bool return_spikes)"
          " -> (Tensor psc, Tensor spikes)");
  SPIKEOPS_OP(tssl_bp_backward,
          "tssl_bp_backward(Tensor grad_psc, Tensor x, float tau_m, float tau_s, float threshold) -> Tensor");
}

}  // namespace spikeops
