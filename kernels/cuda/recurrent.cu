// Recurrent spiking neurons: a block of threads per layer, which takes it through all steps. The weights are read from L2: on the way
// there those of the neurons that fired, each sum in the order of the neurons, as on the CPU. Neurons connected one to one do not see
// each other: a layer of them is cut into parts for as many blocks. A loop of its own, not the walk's (walk.hpp): neurons wait for
// each other in each step.
#include "../math/recurrent.h"

#include "cuba_timing.hpp"
#include "grid.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

constexpr int kWarp = 32, kMostThreads = 512;

int64_t padded(int64_t N) { return (N + kWarp - 1) / kWarp * kWarp; }
int threads_for(int64_t N) { return int(padded(N) < kMostThreads ? padded(N) : kMostThreads); }

// Which neurons of a layer fired, a bit for each, of this step and of the one before.
class Fired {
 public:
  __device__ __forceinline__ Fired(unsigned* words, int64_t N) : words_(words), count_((N + kWarp - 1) / kWarp) {}

  // By whole warps, for each neuron and for what is missing to a whole warp.
  __device__ __forceinline__ void note(int64_t t, int64_t n, bool fired) {
    const unsigned word = __ballot_sync(0xffffffffu, fired);
    if (threadIdx.x % kWarp == 0) words_[t % 2 * count_ + n / kWarp] = word;
  }

  // body(neuron) for each that fired at step t, in their order.
  template <class Body>
  __device__ __forceinline__ void for_each(int64_t t, Body body) const {
    for (int64_t w = 0; w < count_; ++w)
      for (unsigned left = words_[t % 2 * count_ + w]; left != 0; left &= left - 1)
        body(w * kWarp + __popc((left & (0u - left)) - 1));
  }

 private:
  unsigned* words_;
  int64_t count_;
};

// A layer of a call, as a thread sees it: n is a neuron of the layer, `i` its place among all.
template <class Data>
struct Layer {
  using S = State<Data>;
  const RecurrentNeuron& n_;
  const int64_t first, size;  // of all layers

  __device__ __forceinline__ Layer(const RecurrentNeuron& n, int64_t layer) : n_(n), first(layer * n.N), size(n.B * n.N) {}

  __device__ __forceinline__ S number(int k, int64_t n) const {
    return n_.per_neuron[k] != nullptr ? static_cast<const S*>(n_.per_neuron[k])[first + n] : S(n_.numbers[k]);
  }
  __device__ __forceinline__ RecurrentFixed<S> fixed(int64_t n) const {
    return {number(0, n), number(1, n), number(2, n), number(3, n), number(4, n)};
  }
  __device__ __forceinline__ S or_zero(const void* array, int64_t n) const {
    return array != nullptr ? static_cast<const S*>(array)[first + n] : S(0);
  }
  __device__ __forceinline__ RecurrentState<S> initial(int64_t n) const {
    return {or_zero(n_.initial[0], n), or_zero(n_.initial[1], n), or_zero(n_.initial[2], n)};
  }
  __device__ __forceinline__ S data(const void* array, int64_t t, int64_t n) const {
    return to_state(static_cast<const Data*>(array)[t * size + first + n]);
  }
  __device__ __forceinline__ S spike_before(const void* spikes, int64_t t, int64_t n) const {
    return t == 0 ? or_zero(n_.s_init, n) : data(spikes, t - 1, n);
  }

  // The input of step t, with what comes back of the spikes of the step before, which `fired` knows from the second step on.
  __device__ __forceinline__ S total(int64_t t, int64_t n, S spike_before, const Fired& fired) const {
    S returned = n_.bias != nullptr ? static_cast<const S*>(n_.bias)[n] : S(0);
    const S* const from = static_cast<const S*>(n_.weight_from) + n;
    if (n_.one_to_one) {
      returned = returned + static_cast<const S*>(n_.weight)[n] * spike_before;
    } else if (t > 0) {
      fired.for_each(t - 1, [&](int64_t j) { returned = returned + from[j * n_.N]; });
    } else if (n_.s_init != nullptr) {
      for (int64_t j = 0; j < n_.N; ++j) {
        const S spike = or_zero(n_.s_init, j);
        if (spike != S(0)) returned = returned + spike * from[j * n_.N];
      }
    }
    return data(n_.x, t, n) + returned;
  }
};

template <class S>
__device__ __forceinline__ RecurrentState<S> load_state(S* const (&rows)[kRecurrentStates], int64_t i) {
  return {rows[0][i], rows[1][i], rows[2][i]};
}

template <class S>
__device__ __forceinline__ void store_state(S* const (&rows)[kRecurrentStates], int64_t i, const RecurrentState<S>& state) {
  rows[0][i] = state.v;
  rows[1][i] = state.i;
  rows[2][i] = state.a;
}

// How a layer is shared among blocks: neurons of a part, and how many there are of them.
struct Parts {
  int64_t size, count;

  explicit Parts(const RecurrentNeuron& n)
      : size(n.one_to_one && n.N > kMostThreads ? kMostThreads : n.N), count(n.one_to_one ? (n.N + size - 1) / size : 1) {}
};

// The neurons of a layer that a block takes.
struct Part {
  int64_t layer, first, end;

  __device__ __forceinline__ Part(const RecurrentNeuron& n, const Parts& parts, int64_t number)
      : layer(number / parts.count), first(number % parts.count * parts.size), end(first + parts.size < n.N ? first + parts.size : n.N) {}

  // body(n) for the neurons of a thread and, so that warps stay whole, for places behind the last.
  template <class Body>
  __device__ __forceinline__ void for_each_neuron(Body body) const {
    for (int64_t n = first + threadIdx.x; n < first + (end - first + kWarp - 1) / kWarp * kWarp; n += blockDim.x) body(n);
  }
};

template <class Data>
__global__ void __launch_bounds__(kMostThreads) recurrent_forward_kernel(RecurrentForward args, RecurrentParams<State<Data>> params, Parts parts) {
  using S = State<Data>;
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const RecurrentNeuron& n = args.neuron;
  Fired fired(reinterpret_cast<unsigned*>(shared), n.N);
  S* const last[kRecurrentStates] = {static_cast<S*>(args.last[0]), static_cast<S*>(args.last[1]), static_cast<S*>(args.last[2])};
  for (int64_t number = blockIdx.x; number < n.B * parts.count; number += gridDim.x) {
    const Part part(n, parts, number);
    const Layer<Data> layer(n, part.layer);
    with_timing(n.reset, n.timing, [&](auto kind) {
      using Kind = decltype(kind);
      for (int64_t t = 0; t < n.T; ++t) {
        part.for_each_neuron([&](int64_t k) {
          bool spike = false;
          if (k < part.end) {
            const int64_t i = layer.first + k;
            RecurrentState<S> state = t == 0 ? layer.initial(k) : load_state(last, i);
            const S before = layer.spike_before(args.spikes, t, k);
            spike = recurrent_step<Kind::reset, Kind::timing>(state, layer.total(t, k, before, fired), before, layer.fixed(k), params) > S(0);
            store_state(last, i, state);
            static_cast<Data*>(args.spikes)[t * layer.size + i] = spike_value<Data>(spike);
          }
          if (!n.one_to_one) fired.note(t, k, spike);
        });
        __syncthreads();
      }
    });
  }
}

// Scratch memory: the states before each step and after the last, and its total, (T + 1, 4, B, N); then the carry, (8, B, N).
constexpr int kKept = kRecurrentStates + 1, kCarry = kRecurrentStates + kRecurrentNumbers;

template <class S>
__device__ __forceinline__ RecurrentCarry<S> load_carry(const S* rows, int64_t size) {
  return {rows[0],        rows[size],     rows[2 * size], rows[3 * size],
          rows[4 * size], rows[5 * size], rows[6 * size], rows[7 * size]};
}

template <class S>
__device__ __forceinline__ void store_carry(S* rows, int64_t size, const RecurrentCarry<S>& carry) {
  rows[0] = carry.v;
  rows[size] = carry.i;
  rows[2 * size] = carry.a;
  rows[3 * size] = carry.decay;
  rows[4 * size] = carry.current_decay;
  rows[5 * size] = carry.current_scale;
  rows[6 * size] = carry.threshold;
  rows[7 * size] = carry.adaptation_decay;
}

template <class Data>
__global__ void __launch_bounds__(kMostThreads)
    recurrent_backward_kernel(RecurrentBackward args, RecurrentParams<State<Data>> params, Parts parts, State<Data>* scratch) {
  using S = State<Data>;
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const RecurrentNeuron& n = args.neuron;
  Fired fired(reinterpret_cast<unsigned*>(shared), n.N);
  S* const grad_totals = reinterpret_cast<S*>(shared);  // of this step and of the one after: (2, neurons of a part)
  for (int64_t number = blockIdx.x; number < n.B * parts.count; number += gridDim.x) {
    const Part part(n, parts, number);
    const Layer<Data> layer(n, part.layer);
    const int64_t size = layer.size;
    S* const carries = scratch + (n.T + 1) * kKept * size;
    const auto kept = [&](int64_t t, S* (&rows)[kRecurrentStates]) {
      for (int k = 0; k < kRecurrentStates; ++k) rows[k] = scratch + (t * kKept + k) * size;
      return scratch + (t * kKept + kRecurrentStates) * size;
    };

    with_timing(n.reset, n.timing, [&](auto kind) {
      using Kind = decltype(kind);
      for (int64_t t = 0; t < n.T; ++t) {
        S *now[kRecurrentStates], *next[kRecurrentStates];
        S* const totals = kept(t, now);
        kept(t + 1, next);
        part.for_each_neuron([&](int64_t k) {
          if (k < part.end) {
            const int64_t i = layer.first + k;
            RecurrentState<S> state = t == 0 ? layer.initial(k) : load_state(now, i);
            store_state(now, i, state);
            const S before = layer.spike_before(args.spikes, t, k), total = layer.total(t, k, before, fired);
            totals[i] = total;
            recurrent_step<Kind::reset, Kind::timing>(state, total, before, layer.fixed(k), params);
            store_state(next, i, state);
          }
          if (!n.one_to_one) fired.note(t, k, k < part.end && layer.data(args.spikes, t, k) != S(0));
        });
        __syncthreads();
      }
    });

    with_timing(n.reset, n.timing, [&](auto kind) {
      using Kind = decltype(kind);
      const auto brought = [&](int64_t t, int64_t k) {  // the gradient of a spike of step t through the weights
        if (t + 1 == n.T) return S(0);
        const S* const grad = grad_totals + (t + 1) % 2 * parts.size;
        const S* const weight = static_cast<const S*>(n.weight);
        if (n.one_to_one) return weight[k] * grad[k - part.first];
        S sum = S(0);
        for (int64_t j = 0; j < n.N; ++j) sum = sum + grad[j] * weight[j * n.N + k];
        return sum;
      };
      for (int64_t t = n.T - 1; t >= 0; --t) {
        S* now[kRecurrentStates];
        const S* const totals = kept(t, now);
        part.for_each_neuron([&](int64_t k) {
          if (k >= part.end) return;
          const int64_t i = layer.first + k;
          RecurrentCarry<S> carry{layer.or_zero(args.grad_last[0], k), layer.or_zero(args.grad_last[1], k),
                                  layer.or_zero(args.grad_last[2], k), S(0), S(0), S(0), S(0), S(0)};
          if (t + 1 < n.T) carry = load_carry(carries + i, size);
          const S of_spike = args.grad_spikes != nullptr ? layer.data(args.grad_spikes, t, k) + brought(t, k) : brought(t, k);
          const S before = layer.spike_before(args.spikes, t, k);
          const RecurrentFixed<S> fixed = layer.fixed(k);
          const RecurrentState<S> state = load_state(now, i);
          const auto derivative_at = [&](S distance) {
            return surrogate_derivative(n.surrogate, distance, params.cuba.surrogate_scale, params.cuba.surrogate_peak);
          };
          S grad;
          if (n.detach_reset)
            grad = recurrent_step_back<Kind::reset, Kind::timing, true>(carry, of_spike, state, totals[i], before, fixed, params,
                                                                        derivative_at);
          else
            grad = recurrent_step_back<Kind::reset, Kind::timing, false>(carry, of_spike, state, totals[i], before, fixed, params,
                                                                          derivative_at);
          grad = params.cuba.input_scale * grad;
          grad_totals[t % 2 * parts.size + k - part.first] = grad;
          static_cast<Data*>(args.grad_x)[t * size + i] = from_state<Data>(grad);
          store_carry(carries + i, size, carry);
        });
        __syncthreads();
      }
      part.for_each_neuron([&](int64_t k) {
        if (k >= part.end) return;
        const int64_t i = layer.first + k;
        for (int c = 0; c < kCarry; ++c)
          if (args.grad_initial[c] != nullptr) static_cast<S*>(args.grad_initial[c])[i] = carries[c * size + i];
        if (args.grad_s_init != nullptr) static_cast<S*>(args.grad_s_init)[i] = brought(-1, k);
      });
    });
    __syncthreads();  // before another part uses the same memory
  }
}

unsigned blocks_of(const RecurrentNeuron& n, const Parts& parts) {
  const int64_t blocks = n.B * parts.count;
  return unsigned(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}
size_t bits_of(const RecurrentNeuron& n) { return n.one_to_one ? 0 : 2 * size_t(padded(n.N)) / 8; }

}  // namespace

int recurrent_lif_forward(const RecurrentForward& args, void* stream) {
  const RecurrentNeuron& n = args.neuron;
  if (n.B * n.N == 0) return cudaSuccess;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    const Parts parts(n);
    return gpu::launch(recurrent_forward_kernel<Data>, dim3(blocks_of(n, parts)), dim3(threads_for(n.N)), bits_of(n),
                       static_cast<cudaStream_t>(stream), args, recurrent_params<State<Data>>(n), parts);
  });
}

int64_t recurrent_lif_backward_scratch(const RecurrentBackward& args) {
  const RecurrentNeuron& n = args.neuron;
  return ((n.T + 1) * kKept + kCarry) * n.B * n.N * int64_t(state_size(n.dtype));
}

int recurrent_lif_backward(const RecurrentBackward& args, void* scratch, void* stream) {
  const RecurrentNeuron& n = args.neuron;
  if (n.B * n.N == 0) return cudaSuccess;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    const Parts parts(n);
    const size_t grads = 2 * size_t(parts.size) * sizeof(S), bits = bits_of(n);
    return gpu::launch(recurrent_backward_kernel<Data>, dim3(blocks_of(n, parts)), dim3(threads_for(n.N)), grads > bits ? grads : bits,
                       static_cast<cudaStream_t>(stream), args, recurrent_params<S>(n), parts, static_cast<S*>(scratch));
  });
}

}  // namespace spikeops::cuda
