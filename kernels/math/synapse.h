// First-order synapse: a[t] = a[t-1] + theta_s * (x[t] - a[t-1]), theta_s = 1 / tau_s, and its adjoint.
#pragma once

#include "args.h"

namespace spikeops {

template <class S>
SPIKEOPS_HD S synapse_step(S a, S x, S theta_s) { return a + theta_s * (x - a); }

// G[t] = theta_s * g[t] + (1 - theta_s) * G[t+1], G[T] = 0: the gradient with respect to x[t].
template <class S>
SPIKEOPS_HD S synapse_backward_step(S next, S grad_a, S theta_s, S one_minus_theta_s) {
  return theta_s * grad_a + one_minus_theta_s * next;
}

struct SynapticFilter {
  DType dtype;
  int64_t T, N;
  double tau_s;
  const void* in;           // forward: x, backward: the upstream gradient; (T, N) data
  void* out;                // forward: a, backward: the gradient of x; (T, N) data
};

struct SynapticFilterForward : SynapticFilter {};
struct SynapticFilterBackward : SynapticFilter {};

}  // namespace spikeops
