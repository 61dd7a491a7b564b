// First-order synapse and its adjoint.
#include "neurons/synapse.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <bool adjoint>
void filter(const SynapticFilter& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) {
    using Data = decltype(data);
    using S = State<Data>;
    const double theta_s = 1.0 / args.tau_s;
    auto w = walk_of<Synapse<Data, adjoint>>({S(theta_s), S(1.0 - theta_s)}, args.T, adjoint);
    w.input[0] = {static_cast<const Data*>(args.in), args.N};
    w.output[0] = {static_cast<Data*>(args.out), args.N};
    walk(w, begin, end);
  });
}

}  // namespace

void synaptic_filter_forward(const SynapticFilterForward& args, int64_t begin, int64_t end) { filter<false>(args, begin, end); }

void synaptic_filter_backward(const SynapticFilterBackward& args, int64_t begin, int64_t end) { filter<true>(args, begin, end); }

}  // namespace spikeops::cpu::SPIKEOPS_ISA
