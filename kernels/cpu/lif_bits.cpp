// LIF neurons that keep bits for their backward pass.
#include "neurons/lif_bits.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body.operator()<surrogate>().
template <class Body>
inline void with_window(int surrogate, Body body) {
  if (surrogate == int(Surrogate::rectangle)) return body.template operator()<int(Surrogate::rectangle)>();
  if (surrogate == int(SurrogateOfLif::step)) return body.template operator()<int(SurrogateOfLif::step)>();
  body.template operator()<int(SurrogateOfLif::window)>();
}

// Where the bits of a step lie.
struct Place {
  Place(Reset reset, int64_t t) : byte(t / lif_steps_per_byte(reset)), bit(int(t % lif_steps_per_byte(reset)) * lif_bits_per_step(reset)) {}
  int64_t byte;
  int bit;
};

template <class Types>
void forward(const LifBitsForward& a, const Walk<Types>& w, Reset reset, int64_t begin, int64_t end) {
  using S = typename Types::S;
  const LifNeuron& n = a.neuron;
  walk(w, begin, end, kNothingToDo, [&](int64_t t, const auto& rows, int64_t n0) {
    const auto pack = [&](int64_t byte, S factor, S of_nan) {
      uint8_t* const bytes = static_cast<uint8_t*>(a.bits) + byte * n.N + n0;
      pack_row(rows.to.row[1], factor, rows.from.row[0], of_nan, bytes, rows.n);
    };
    const Place next(reset, t + 1);
    if (next.bit == 0) pack(next.byte - 1, S(1), S(0));
    if (t + 1 == n.T) pack(next.byte, S(1) / S(1 << (kBitsPerByte - next.bit)), S(1 << next.bit));
  });
}

template <class Types>
void backward(const LifBitsBackward& a, const Walk<Types>& w, Reset reset, int64_t begin, int64_t end) {
  using S = typename Types::S;
  const LifNeuron& n = a.neuron;
  const auto before = [&](int64_t t, auto& rows, int64_t n0) {
    const auto unpack = [&](int64_t byte, S of_nan, S factor) {
      const uint8_t* const bytes = static_cast<const uint8_t*>(a.bits) + byte * n.N + n0;
      unpack_row(bytes, of_nan, factor, rows.to.row[1], rows.from.row[0], rows.to.row[0], rows.n);
      rows.from.row[0] = rows.to.row[0];
    };
    const Place next(reset, t + 1);
    if (t + 1 == n.T) unpack(next.byte, S(1 << next.bit), S(1 << (kBitsPerByte - next.bit)));
    if (next.bit == 0) unpack(next.byte - 1, S(1 << kBitsPerByte), S(1));
  };
  walk(w, begin, end, before, kNothingToDo);
}

template <class Neuron>
Walk<typename Neuron::Types> walk_back_of(const LifBitsBackward& a) {
  return lif_kept_walk_back<Neuron>(a, lif_bits_back<typename Neuron::S>(a), 1);
}

template <class Data, Reset reset, bool detached>
void backward(const LifBitsBackward& a, int64_t begin, int64_t end) {
  if (a.neuron.x_stride == 0) return backward(a, walk_back_of<LifFromBits<Data, reset, detached, true>>(a), reset, begin, end);
  backward(a, walk_back_of<LifFromBits<Data, reset, detached, false>>(a), reset, begin, end);
}

template <class Data, Reset reset, int surrogate>
void forward(const LifBitsForward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const LifBitsParams<S> params{lif_kept_params<S>(a.neuron), lif_window<S>(a)};
  forward(a, lif_kept_walk<LifBits<Data, reset, surrogate>>(a, params, 1), reset, begin, end);
}

}  // namespace

void lif_bits_forward(const LifBitsForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    with_window(a.surrogate, [&]<int surrogate>() {
      if (a.neuron.reset == int(Reset::to)) return forward<decltype(data), Reset::to, surrogate>(a, begin, end);
      forward<decltype(data), Reset::subtract, surrogate>(a, begin, end);
    });
  });
}

void lif_bits_backward(const LifBitsBackward& a, int64_t begin, int64_t end) {
  const bool detached = a.neuron.detach_reset || a.neuron.reset == int(Reset::none);
  with_dtype(a.neuron.dtype, [&](auto data) {
    if (a.neuron.reset == int(Reset::to)) return backward<decltype(data), Reset::to, true>(a, begin, end);
    if (detached) return backward<decltype(data), Reset::subtract, true>(a, begin, end);
    backward<decltype(data), Reset::subtract, false>(a, begin, end);
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
