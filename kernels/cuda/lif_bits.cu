// LIF neurons that keep bits for their backward pass. Forward as lif, with a byte more every few steps; the way back reads gradients and
// bits, each once, and runs nothing again.
#include "../math/lif_bits.h"

#include "grid.hpp"
#include "kinds.hpp"
#include "launch.h"
#include "lif.hpp"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width, Reset reset>
__global__ void __launch_bounds__(kThreads)
    lif_bits_forward_kernel(LifBitsForward a, LifParams<State<Data>> params, LifWindow<State<Data>> window) {
  using S = State<Data>;
  constexpr int bits = lif_bits_per_step(reset);
  const LifNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    LifNeurons<Data, width> neurons(neuron, params, i);
    Data* const spikes = static_cast<Data*>(a.spikes) + i;
    uint8_t* byte = static_cast<uint8_t*>(a.bits) + i;
    auto made = all_lanes<width>(0u);  // of the byte that is in the making
    int bit = 0;
    const auto put = [&] {
      Lanes<uint8_t, width> bytes;
      for (int l = 0; l < width; ++l) bytes[l] = uint8_t(made[l]);
      store(byte, bytes);
      byte += neuron.N;
    };
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.x_stride, neuron.T, neuron.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           const Lanes<S, width> u = neurons.step(x);
                           Lanes<Data, width> s;
                           for (int l = 0; l < width; ++l) {
                             const bool fired = neurons.fires(u[l]);
                             s[l] = spike_value<Data>(fired);
                             const unsigned inside = is_inside(a.surrogate, u[l], window);
                             made[l] |= (inside | (bits > 1 ? unsigned(fired) << 1 : 0u)) << bit;
                           }
                           if constexpr (width > 1) store(global_address(spikes + offset), s);  // whole, in the last rows too
                           else store(spikes + offset, s);
                           bit += bits;
                           if (bit == kBitsPerByte) {
                             put();
                             made = all_lanes<width>(0u);
                             bit = 0;
                           }
                         });
    for (int l = 0; l < width; ++l) made[l] |= unsigned(neurons.v[l] != neurons.v[l]) << bit;
    put();
    store(static_cast<S*>(a.v_last) + i, neurons.v);
  });
}

template <class Data, int width, Reset reset, bool detached>
__global__ void __launch_bounds__(kThreads) lif_bits_backward_kernel(LifBitsBackward a, LifBitsBack<State<Data>> params) {
  using S = State<Data>;
  constexpr int bits = lif_bits_per_step(reset);
  const LifNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    auto grad_v = load_or<width>(a.grad_v_last, i, S(0));
    Data* const grad_x = static_cast<Data*>(a.grad_x) + i;
    const uint8_t* const bytes = static_cast<const uint8_t*>(a.bits) + i;
    int64_t before = lif_bytes(reset, neuron.T) - 1;                // bytes before the one in use, which is the last
    int bit = int(neuron.T % lif_steps_per_byte(reset)) * bits;  // those of steps lie below it
    auto now = load<width>(bytes + before * neuron.N);
    // The one before is asked for while one is in use.
    auto next = now;
    const auto ask = [&] {
      if (before > 0) next = load<width>(bytes + --before * neuron.N);
    };
    ask();
    for (int l = 0; l < width; ++l)
      if (now[l] >> bit & 1) grad_v[l] = S(NAN);
    auto sum = all_lanes<width>(S(0));
    for_each_step<width, Direction::backward>(
        static_cast<const Data*>(a.grad_spikes) + i, neuron.T, neuron.N, [&](int64_t, int64_t offset, const Lanes<Data, width>& grad) {
          if (bit == 0) {
            now = next;
            ask();
            bit = kBitsPerByte;
          }
          bit -= bits;
          Lanes<Data, width> out;
          for (int l = 0; l < width; ++l) {
            const bool inside = now[l] >> bit & 1, fired = bits > 1 && (now[l] >> (bit + 1) & 1) != 0;
            const S derivative = inside ? params.inner : params.outer;
            const S grad_u = lif_kept_step_back<reset, detached>(grad_v[l], to_state(grad[l]), derivative, fired, S(0), params.step);
            sum[l] += params.step.step_scale * grad_u;
            out[l] = from_state<Data>(params.step.step_scale * grad_u);
          }
          if (neuron.x_stride != 0) store(grad_x + offset, out);
        });
    if (neuron.x_stride == 0) {
      Lanes<Data, width> out;
      for (int l = 0; l < width; ++l) out[l] = from_state<Data>(params.step.sum_scale * sum[l]);
      store(grad_x, out);
    }
    if (a.grad_v_init != nullptr) store(static_cast<S*>(a.grad_v_init) + i, grad_v);
  });
}

template <class Data, Reset reset>
int forward(const Work& work, const LifBitsForward& a, void* stream) {
  constexpr int width = 16 / sizeof(Data);
  using S = State<Data>;
  return work.launch(stream, lif_bits_forward_kernel<Data, width, reset>, lif_bits_forward_kernel<Data, 1, reset>, a,
                     lif_params<S>(a.neuron), lif_window<S>(a));
}

template <class Data, Reset reset, bool detached>
int backward(const Work& work, const LifBitsBackward& a, void* stream) {
  constexpr int width = 16 / sizeof(Data);
  return work.launch(stream, lif_bits_backward_kernel<Data, width, reset, detached>, lif_bits_backward_kernel<Data, 1, reset, detached>,
                     a, lif_bits_back<State<Data>>(a));
}

}  // namespace

int lif_bits_forward(const LifBitsForward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    const Work work(n.N, 16 / sizeof(Data), {n.x, n.v_init, a.spikes, a.v_last, a.bits});
    if (n.reset == int(Reset::to)) return forward<Data, Reset::to>(work, a, stream);
    return forward<Data, Reset::subtract>(work, a, stream);
  });
}

int lif_bits_backward(const LifBitsBackward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    const Work work(n.N, 16 / sizeof(Data), {a.grad_spikes, a.grad_v_last, a.bits, a.grad_x, a.grad_v_init});
    if (n.reset == int(Reset::to)) return backward<Data, Reset::to, true>(work, a, stream);
    if (n.detach_reset || n.reset == int(Reset::none)) return backward<Data, Reset::subtract, true>(work, a, stream);
    return backward<Data, Reset::subtract, false>(work, a, stream);
  });
}

}  // namespace spikeops::cuda
