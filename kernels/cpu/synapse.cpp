// First-order synapse and its adjoint.
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Runs step(carry, input) along time, forward or backward, and writes each new carry.
template <class Data, class Step>
void filter(const SynapticFilter& args, int64_t begin, int64_t end, bool forward, Step step) {
  using S = State<Data>;
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    alignas(64) S carry[kTile];
    for (int64_t i = 0; i < n; ++i) carry[i] = S(0);
    for (int64_t k = 0; k < args.T; ++k) {
      const int64_t offset = (forward ? k : args.T - 1 - k) * args.N + n0;
      const Data* __restrict in = static_cast<const Data*>(args.in) + offset;
      Data* __restrict out = static_cast<Data*>(args.out) + offset;
      if (k + 1 < args.T) {
        const int64_t next = forward ? args.N : -args.N;
        prefetch(in + next, n), prefetch_for_write(out + next, n);
      }
      for (int64_t i = 0; i < n; ++i) {
        carry[i] = step(carry[i], to_state(in[i]));
        out[i] = from_state<Data>(carry[i]);
      }
    }
  });
}

}  // namespace

void synaptic_filter_forward(const SynapticFilter& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) {
    using S = State<decltype(data)>;
    const S theta_s = S(1.0 / args.tau_s);
    filter<decltype(data)>(args, begin, end, true, [=](S a, S x) { return synapse_step(a, x, theta_s); });
  });
}

void synaptic_filter_backward(const SynapticFilter& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) {
    using S = State<decltype(data)>;
    const S theta_s = S(1.0 / args.tau_s), one_minus_theta_s = S(1.0 - 1.0 / args.tau_s);
    filter<decltype(data)>(args, begin, end, false,
                           [=](S next, S g) { return synapse_backward_step(next, g, theta_s, one_minus_theta_s); });
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
