// Trials of the convex-optimisation network: a block of threads per trial, which share its neurons. Learning trials follow one
// another in a single block. A loop of its own, not the walk's (walk.hpp): in each step one neuron of all may fire, and
// the others feel it.
#include "../math/convex.h"

#include "grid.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kTrialThreads = 256;
// Inputs that are brought close at a time.
constexpr int kTile = 256;
// A block may have so much shared memory without asking for more; some is left for what blocks share besides the state.
constexpr int64_t kSharedBytes = 40 << 10;

int64_t state_elements(const ConvexTrials& args) { return 2 * args.N; }  // membrane and drive
int64_t state_bytes(const ConvexTrials& args) { return state_elements(args) * int64_t(state_size(args.dtype)); }
bool state_is_shared(const ConvexTrials& args) {
  return state_bytes(args) <= kSharedBytes;
}
int64_t blocks_of(const ConvexTrials& args) {
  if (args.targets != nullptr) return args.B > 0 ? 1 : 0;
  return args.B < kMaxBlocks ? args.B : kMaxBlocks;
}

template <class S>
struct Contender {
  S excess;
  int neuron;
};

template <class S>
__device__ __forceinline__ Contender<S> larger(Contender<S> a, Contender<S> b) {
  const bool second = b.excess > a.excess || (b.excess == a.excess && b.neuron < a.neuron);
  return second ? b : a;
}

// The contender of the block with the largest excess, the first neuron of several, to all threads.
template <class S>
__device__ __forceinline__ Contender<S> largest_of_block(Contender<S> own) {
  __shared__ S excess[kTrialThreads / kWarp];
  __shared__ int neuron[kTrialThreads / kWarp];
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    own = larger(own, {__shfl_xor_sync(0xffffffffu, own.excess, distance), __shfl_xor_sync(0xffffffffu, own.neuron, distance)});
  __syncthreads();  // all have read what the last call left here
  if (threadIdx.x % kWarp == 0) {
    excess[threadIdx.x / kWarp] = own.excess;
    neuron[threadIdx.x / kWarp] = own.neuron;
  }
  __syncthreads();
  own = {excess[0], neuron[0]};
  for (int w = 1; w < int(blockDim.x) / kWarp; ++w) own = larger(own, {excess[w], neuron[w]});
  return own;
}

// body(k0, count) for each tile of inputs, whose `value(k)` then lie in `tile`, to all threads.
template <class S, class Value, class Body>
__device__ __forceinline__ void for_each_tile(int64_t K, S* tile, Value value, Body body) {
  for (int64_t k0 = 0; k0 < K; k0 += kTile) {
    const int count = K - k0 < kTile ? int(K - k0) : kTile;
    __syncthreads();
    for (int k = threadIdx.x; k < count; k += blockDim.x) tile[k] = value(k0 + k);
    __syncthreads();
    body(k0, count);
  }
}

template <class S>
__device__ __forceinline__ S noise_of(const ConvexTrials& args, int64_t t, int64_t trial, int64_t n) {
  if (args.noise != nullptr) return static_cast<const S*>(args.noise)[(t * args.B + trial) * args.N + n];
  const Philox4 random = convex_noise(uint64_t(*args.seed), trial, args.N, n, t / 4);
  const int word = int(t % 4);
  return S(standard_normal(word == 0 ? random.v[0] : word == 1 ? random.v[1] : word == 2 ? random.v[2] : random.v[3]));
}

template <class S>
__device__ __forceinline__ void learn(const ConvexTrials& args, const ConvexParams<S>& p, int64_t t, int64_t trial, int s, S* tile) {
  __shared__ S shared_error;
  S* const thresholds = static_cast<S*>(args.thresholds);
  if (s >= 0) {
    S* const row = static_cast<S*>(args.feedforward_rows) + s * args.K;
    const S* const x = static_cast<const S*>(args.x) + (t * args.B + trial) * args.K;
    S reached = 0;
    for_each_tile(args.K, tile, [&](int64_t k) { return row[k] * x[k]; },
                  [&](int64_t, int count) {
                    if (threadIdx.x == 0)
                      for (int k = 0; k < count; ++k) reached += tile[k];
                  });
    if (threadIdx.x == 0) {
      const S* const encoder = static_cast<const S*>(args.encoder) + s * args.Y;
      const S* const target = static_cast<const S*>(args.targets) + trial * args.Y;
      S wanted = 0;
      for (int64_t m = 0; m < args.Y; ++m) wanted += encoder[m] * target[m];
      shared_error = convex_error(reached, thresholds[s], wanted, p);
    }
    __syncthreads();
    const S error = shared_error, scale = p.feedforward_rate * error;
    for (int64_t k = threadIdx.x; k < args.K; k += blockDim.x) {
      row[k] -= scale * x[k];
      static_cast<S*>(args.feedforward)[k * args.N + s] = row[k];
    }
    if (int(threadIdx.x) == s % int(blockDim.x)) thresholds[s] += p.threshold_rate * error;
  }
  for (int64_t n = threadIdx.x; n < args.N; n += blockDim.x) thresholds[n] -= p.threshold_step;
}

template <class S, bool learning>
__global__ void __launch_bounds__(kTrialThreads) convex_trials_kernel(ConvexTrials args, ConvexParams<S> p, S* scratch) {
  GPU_DYNAMIC_SHARED(S, shared);
  __shared__ S tile[kTile];
  // Each thread alone reads and writes the state of its own neurons: threadIdx.x, threadIdx.x + blockDim.x, ...
  S* const v = scratch != nullptr ? scratch + blockIdx.x * 2 * args.N : shared;
  S* const drive = v + args.N;
  const S* const feedforward = static_cast<const S*>(args.feedforward);
  const S* const thresholds = static_cast<const S*>(args.thresholds);
  const S* const decoder = static_cast<const S*>(args.decoder);
  const bool is_noisy = args.noise != nullptr || args.seed != nullptr;
  for (int64_t trial = blockIdx.x; trial < args.B; trial += gridDim.x) {
    S* y = static_cast<S*>(args.readout) + trial * args.M;
    for (int64_t n = threadIdx.x; n < args.N; n += blockDim.x) v[n] = 0;
    for (int64_t m = threadIdx.x; m < args.M; m += blockDim.x) y[m] = 0;
    for (int64_t t = 0; t < args.T; ++t) {
      const S* const x = static_cast<const S*>(args.x) + (t * args.B + trial) * args.K;
      for_each_tile(args.K, tile, [&](int64_t k) { return convex_command(x[k], x[args.B * args.K + k], p); },
                    [&](int64_t k0, int count) {
                      for (int64_t n = threadIdx.x; n < args.N; n += blockDim.x) {
                        S sum = k0 == 0 ? S(0) : drive[n];
                        for (int k = 0; k < count; ++k)
                          if (tile[k] != S(0)) sum += feedforward[(k0 + k) * args.N + n] * tile[k];
                        drive[n] = sum;
                      }
                    });
      Contender<S> own{-S(INFINITY), int(args.N)};
      for (int64_t n = threadIdx.x; n < args.N; n += blockDim.x) {
        S membrane = convex_membrane(v[n], drive[n], p);
        if (is_noisy) membrane += p.noise_scale * noise_of<S>(args, t, trial, n);
        v[n] = membrane;
        own = larger(own, {membrane - thresholds[n], int(n)});
      }
      own = largest_of_block(own);
      const int s = own.excess >= S(0) ? own.neuron : -1;
      if (s >= 0) {
        const S* const recurrent = static_cast<const S*>(args.recurrent) + s * args.N;
        for (int64_t n = threadIdx.x; n < args.N; n += blockDim.x) v[n] = (n == s ? v[n] - p.spike_cost : v[n]) + recurrent[n];
      }
      S* const y_next = y + args.B * args.M;
      for (int64_t m = threadIdx.x; m < args.M; m += blockDim.x) {
        const S weight = s < 0 ? S(0) : decoder != nullptr ? decoder[s * args.M + m] : S(m == s ? 1 : 0);
        y_next[m] = convex_readout(y[m], weight, p);
      }
      y = y_next;
      if (threadIdx.x == 0) args.spikes[t * args.B + trial] = s;
      if constexpr (learning)
        if (t >= args.buffer_steps) learn(args, p, t, trial, s, tile);
    }
  }
}

template <class S>
int launch_trials(const ConvexTrials& args, S* scratch, void* stream) {
  const int64_t threads = (args.N + kWarp - 1) / kWarp * kWarp;
  const bool is_shared = state_is_shared(args);
  return gpu::launch(args.targets != nullptr ? convex_trials_kernel<S, true> : convex_trials_kernel<S, false>,
                     dim3(unsigned(blocks_of(args))), dim3(unsigned(threads < kTrialThreads ? threads : kTrialThreads)),
                     is_shared ? size_t(state_elements(args)) * sizeof(S) : 0, static_cast<cudaStream_t>(stream), args,
                     convex_params<S>(args), is_shared ? nullptr : scratch);
}

}  // namespace

int64_t convex_snn_trial_scratch(const ConvexTrials& args) {
  return state_is_shared(args) ? 0 : blocks_of(args) * state_bytes(args);
}

int convex_snn_trial(const ConvexTrials& args, void* scratch, void* stream) {
  if (args.B == 0) return cudaSuccess;
  return args.dtype == DType::f64 ? launch_trials(args, static_cast<double*>(scratch), stream)
                                  : launch_trials(args, static_cast<float*>(scratch), stream);
}

}  // namespace spikeops::cuda
