// How a thread walks back through time, for any neuron: forward over the sequence, then backward over its gradients, with the
// history of the neurons on chip.
//
// Time is cut into blocks of kStepsAhead steps that end with the sequence: the first may be short. Within a block the history is in
// registers. To come back to a block, a thread keeps in shared memory its rows of x, as they came, and the state at its beginning,
// and runs its steps once more. The last block needs neither. A long sequence is cut into segments, of which the first is the
// short one; all but the last are run twice, from the state at their beginning, which is kept in a scratch array.
//
// `Neurons` are those of one thread:
//   Data, S, width, states       types of data and state; number of neurons; numbers of state of each
//   may_be_constant              whether x may be the same in all steps
//   History                      what stepping back needs of one time step
//   Lanes<S, width>& state(n)    the n-th number of the state, n < states
//   step(x)                      one step forward
//   begin()                      called before the first step of a block that is noted:
//   History note(x)              one step forward, with its history
//   arrived()                    called once, when the last step was done
//   prepare(history)             called with the histories of a block before its first step back, for what does not depend on the
//                                gradients: slopes of several steps overlap there, and which function they are of is asked once.
//                                Steps that a short block lacks have a history of zeros
//   step_back(history, k, first, grad)   one step back, the block's k-th, which may be its first: returns the gradient of x.
//                                `grad` is undefined where no gradients are given
#pragma once

#include "grid.hpp"
#include "walk.hpp"

namespace spikeops::cuda {

// The steps of a segment. Long segments read less of x twice; short ones leave room for more threads on a multiprocessor, whose
// loads hide each other's latency. Two blocks of threads with 20 bytes a thread and step fit the larger devices.
constexpr int64_t kSegment = 96, kSmallSegment = 48;
constexpr size_t kMostBytesPerStep = 20;

// Worked out by the host: a division costs a thread as much as several steps.
struct Segments {
  int64_t steps, count;

  explicit Segments(int64_t T)
      : steps(gpu::current_device().shared_bytes >= kSegment * kThreads * kMostBytesPerStep ? kSegment : kSmallSegment),
        count((T + steps - 1) / steps) {}
};

// Where a walk's rows of x lie and where it finds and puts its gradients. The arrays begin with neuron 0: their addresses are the
// same for all threads.
template <class Data, class S>
struct WalkBack {
  int64_t T, N;
  Segments segments;
  const Data* x;
  int64_t x_stride;        // 0: the same row in all steps, and no gradient is stored
  const Data* grad;        // or null
  Data* grad_x;
  S* scratch;              // (states, segments - 1, N)
  int64_t i;               // the thread's first neuron
};

// The same number, of which the compiler knows nothing, so that it keeps no multiples or sums of it in registers.
__device__ __forceinline__ int64_t opaque(int64_t n) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+l"(n));
#endif
  return n;
}

// What a thread keeps in shared memory.
template <class Neurons>
class Kept {
 public:
  using Data = typename Neurons::Data;
  using S = typename Neurons::S;
  static constexpr int width = Neurons::width, block = kStepsAhead;
  static_assert((block & (block - 1)) == 0);
  static_assert(kSegment % block == 0 && kSmallSegment % block == 0, "all blocks but the first are whole");
  static_assert(sizeof(Lanes<Data, width>) + Neurons::states * sizeof(Lanes<S, width>) / block <= kMostBytesPerStep);

  static size_t bytes(int64_t T, const Segments& segments) {
    return size_t(blocks(T, segments)) * kThreads * (block * sizeof(Row<Data, width>) + Neurons::states * sizeof(Number));
  }

  __device__ __forceinline__ Kept(int64_t T, const Segments& segments, unsigned char* shared)
      : rows_(reinterpret_cast<Row<Data, width>*>(shared) + threadIdx.x),
        states_(reinterpret_cast<Number*>(shared + blocks(T, segments) * int(sizeof(Row<Data, width>)) * block * kThreads) +
                threadIdx.x) {}

  using Number = Lanes<S, width>;
  // Of the b-th block that is kept.
  __device__ __forceinline__ Row<Data, width>& row(int b, int k) const { return rows_[(b * block + k) * kThreads]; }
  __device__ __forceinline__ Number& state(int b, int n) const { return states_[(b * Neurons::states + n) * kThreads]; }

 private:
  // Of a segment, without the last, which is not kept.
  __host__ __device__ __forceinline__ static int blocks(int64_t T, const Segments& segments) {
    return (int(T < segments.steps ? T : segments.steps) + block - 1) / block - 1;
  }

  Row<Data, width>* rows_;
  Number* states_;
};

template <class Neurons>
__device__ __forceinline__ void walk_back(Neurons& neurons, const Kept<Neurons>& kept,
                                          const WalkBack<typename Neurons::Data, typename Neurons::S>& walk) {
  using Data = typename Neurons::Data;
  constexpr int width = Neurons::width, states = Neurons::states, block = kStepsAhead;
  constexpr unsigned whole = (1u << block) - 1;

  // Block b holds the steps from b * block - idle on; bit k of its places: step k exists.
  const int64_t N = walk.N;
  const int idle = int(-walk.T & (block - 1));
  const int blocks = int((walk.T + idle) / block), segments = int(walk.segments.count);
  const int blocks_of_segment = int(walk.segments.steps) / block;
  const auto first_block = [&](int segment) { return segment == 0 ? 0 : blocks - (segments - segment) * blocks_of_segment; };
  const auto places = [&](int b) { return b == 0 ? whole << idle & whole : whole; };
  const auto first_step = [&](int b) { return int64_t(b) * block - idle; };
  const auto scratch = [&](int n, int segment) {
    return walk.scratch + opaque(walk.i) + (int64_t(n) * (segments - 1) + segment) * N;
  };

  // The rows of a block are loaded while the one before is worked on, each as soon as its registers are free.
  Row<Data, width> rows[block];
  const Data* next = walk.x;  // row 0 of the next block
  int64_t next_stride = 0;
  unsigned next_places = 0;
  const auto load_next = [&](int k) {
    if (next_places >> k & 1) rows[k] = load_row<width>(next);
    next += next_stride;
  };
  const auto x_is_next = [&](int b) {
    next = walk.x + (opaque(walk.i) + first_step(b) * walk.x_stride);
    next_stride = opaque(walk.x_stride);
    next_places = places(b);
  };
  const auto nothing_is_next = [&] {
    next = walk.x;
    next_stride = 0;
    next_places = 0;
  };
  const auto gradient_is_next = [&](int b) {  // from the last step of the block to the first
    if (walk.grad == nullptr) return nothing_is_next();
    next = walk.grad + (opaque(walk.i) + (first_step(b) + block - 1) * N);
    next_stride = opaque(-N);
    next_places = b == 0 ? whole >> idle : whole;
  };

  x_is_next(0);
#pragma unroll
  for (int k = 0; k < block; ++k) load_next(k);

  int b = 0, saved = 0;
#pragma unroll 1
  for (int segment = segments - 1;; --segment) {
    // Forward: at first from the beginning of time, later from that of the segment.
    const int first = first_block(segment), last = first_block(segment + 1) - 1;
#pragma unroll 1
    for (; b < last; ++b) {
      const int kept_as = b - first;  // negative: before the segment
      if (kept_as >= 0) {
        for (int n = 0; n < states; ++n) kept.state(kept_as, n) = neurons.state(n);
      } else if (b == first_block(saved)) {
        for (int n = 0; n < states; ++n) store(scratch(n, saved), neurons.state(n));
        ++saved;
      }
      const unsigned now = places(b);
      x_is_next(b + 1);
#pragma unroll
      for (int k = 0; k < block; ++k) {
        if (now >> k & 1) {
          if (kept_as >= 0) kept.row(kept_as, k) = rows[k];
          neurons.step(rows[k].lanes());
        }
        load_next(k);
      }
    }

    typename Neurons::History history[block] = {};
    unsigned now = places(b);
    gradient_is_next(b);
    neurons.begin();
#pragma unroll
    for (int k = 0; k < block; ++k) {
      if (now >> k & 1) history[k] = neurons.note(rows[k].lanes());
      load_next(k);
    }
    if (segment == segments - 1) neurons.arrived();

    Data* grad_x = walk.grad_x + (opaque(walk.i) + (first_step(b) + block - 1) * N);
#pragma unroll 1
    for (;;) {
      if (b > first)
        gradient_is_next(b - 1);
      else if (segment > 0)
        x_is_next(first_block(segment - 1));
      else
        nothing_is_next();
      neurons.prepare(history);
      const int64_t grad_x_stride = opaque(N);
#pragma unroll
      for (int k = block - 1; k >= 0; --k) {
        const int row = block - 1 - k;
        if (now >> k & 1) {
          const Lanes<Data, width> grad = neurons.step_back(history, k, (now << 1 >> k & 1) == 0, rows[row].lanes());
          if (!Neurons::may_be_constant || walk.x_stride != 0) store(grad_x, grad);
        }
        grad_x -= grad_x_stride;
        load_next(row);
      }
      if (b == first) break;
      --b;
      now = places(b);
      const int kept_as = b - first;
      for (int n = 0; n < states; ++n) neurons.state(n) = kept.state(kept_as, n);
      neurons.begin();
#pragma unroll
      for (int k = 0; k < block; ++k)
        if (now >> k & 1) history[k] = neurons.note(kept.row(kept_as, k).lanes());
    }
    if (segment == 0) break;
    b = first_block(segment - 1);
    for (int n = 0; n < states; ++n)
      neurons.state(n) = load<width>(static_cast<const typename Neurons::S*>(scratch(n, segment - 1)));
  }
}

}  // namespace spikeops::cuda
