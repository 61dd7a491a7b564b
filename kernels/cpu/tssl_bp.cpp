// TSSL-BP: post-synaptic current forward, O(T) recursion backward.
#include "neurons/tssl_bp.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Neuron>
Walk<Neuron> walk_for(const TsslBpForward& args) {
  using Data = typename Neuron::Data;
  const int64_t N = args.neuron.N;
  auto w = walk_of<Neuron>(tssl_bp_params<typename Neuron::S>(args.neuron), args.neuron.T);
  w.input[0] = {static_cast<const Data*>(args.neuron.x), N};
  w.output[0] = {static_cast<Data*>(args.psc), N};
  return w;
}

template <class Data>
void forward(const TsslBpForward& args, int64_t begin, int64_t end) {
  if (!args.spikes) return walk(walk_for<TsslBp<Data, false>>(args), begin, end);
  auto w = walk_for<TsslBp<Data, true>>(args);
  w.output[1] = {static_cast<Data*>(args.spikes), args.neuron.N};
  walk(w, begin, end);
}

template <class Data>
void backward(const TsslBpBackward& args, int64_t begin, int64_t end) {
  using Neuron = TsslBp<Data, false>;
  const auto params = tssl_bp_params<typename Neuron::S>(args.neuron);
  auto w = walk_back_of<Neuron>(params, params, args.neuron.T, args.neuron.N);
  w.row = back_row<Neuron, Neuron, false>;
  w.first_row = back_row<Neuron, Neuron, true>;
  w.input[0] = {static_cast<const Data*>(args.neuron.x), w.N};
  w.grad_output = static_cast<const Data*>(args.grad_psc);
  w.grad_input = static_cast<Data*>(args.grad_x);
  walk_back(w, begin, end);
}

}  // namespace

void tssl_bp_forward(const TsslBpForward& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) { forward<decltype(data)>(args, begin, end); });
}

void tssl_bp_backward(const TsslBpBackward& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) { backward<decltype(data)>(args, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
