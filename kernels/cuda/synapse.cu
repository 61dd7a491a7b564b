// First-order synapse and its adjoint, which is the same walk backwards in time.
#include "../math/synapse.h"

#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width, Direction direction>
__global__ void __launch_bounds__(kThreads)
    synaptic_filter_kernel(SynapticFilter args, State<Data> theta_s, State<Data> one_minus_theta_s) {
  using S = State<Data>;
  for_each_group<width>(args.N, [&](int64_t i) {
    auto carry = all_lanes<width>(S(0));
    for_each_step<width, direction>(static_cast<const Data*>(args.in) + i, args.T, args.N,
                                    [&](int64_t, int64_t offset, const Lanes<Data, width>& in) {
                                      Lanes<Data, width> out;
                                      for (int l = 0; l < width; ++l) {
                                        if constexpr (direction == Direction::forward)
                                          carry[l] = synapse_step(carry[l], to_state(in[l]), theta_s);
                                        else
                                          carry[l] = synapse_backward_step(carry[l], to_state(in[l]), theta_s, one_minus_theta_s);
                                        out[l] = from_state<Data>(carry[l]);
                                      }
                                      store(static_cast<Data*>(args.out) + i + offset, out);
                                    });
  });
}

template <Direction direction>
int synaptic_filter(const SynapticFilter& args, void* stream) {
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 16 / sizeof(Data);
    return Work(args.N, width, {args.in, args.out})
        .launch(stream, synaptic_filter_kernel<Data, width, direction>, synaptic_filter_kernel<Data, 1, direction>, args,
                S(1.0 / args.tau_s), S(1.0 - 1.0 / args.tau_s));
  });
}

}  // namespace

int synaptic_filter_forward(const SynapticFilterForward& args, void* stream) {
  return synaptic_filter<Direction::forward>(args, stream);
}

int synaptic_filter_backward(const SynapticFilterBackward& args, void* stream) {
  return synaptic_filter<Direction::backward>(args, stream);
}

}  // namespace spikeops::cuda
