// Neurons that stop at their threshold: each thread reads its input once and keeps the state in registers.
#include "../math/clamped.h"

#include "grid.hpp"
#include "lanes.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) clamped_forward_kernel(ClampedForward args, ClampedParams<State<Data>> p) {
  using S = State<Data>;
  const S* const thresholds = static_cast<const S*>(args.threshold);
  for_each_group<width>(args.N, [&](int64_t i) {
    const auto x = load<width>(static_cast<const Data*>(args.x) + i);
    // Neighbours have the same channel, or the next one.
    const int64_t run = i / args.inner;
    int64_t channel = run % args.C, left = args.inner - (i - run * args.inner);
    Lanes<Data, width> count;
    Lanes<S, width> v;
    for (int l = 0; l < width; ++l) {
      if (left == 0) {
        left = args.inner;
        channel = channel + 1 == args.C ? 0 : channel + 1;
      }
      --left;
      const Clamped<S> s = clamped_run(S(to_state(x[l])), thresholds[channel], args.T, p);
      count[l] = from_state<Data>(s.count);
      v[l] = s.v;
    }
    store(static_cast<Data*>(args.count) + i, count);
    store(static_cast<S*>(args.v) + i, v);
  });
}

}  // namespace

int clamped_forward(const ClampedForward& args, void* stream) {
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(args.N, width, {args.x, args.count, args.v})
        .launch(stream, clamped_forward_kernel<Data, width>, clamped_forward_kernel<Data, 1>, args,
                clamped_params<State<Data>>(args));
  });
}

}  // namespace spikeops::cuda
