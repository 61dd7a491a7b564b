// How a thread walks back through time: its neurons run forward over the sequence, then backward over its gradients, with their
// history on chip.
//
// Time is cut into blocks, within which the history is in registers. A short sequence is one block, all of whose loads are issued
// at once (`walk_back_at_once`). Of a longer one (`walk_back`), whose first block may be the short one, a thread keeps in shared
// memory the rows of x, as they came, and the state at the beginning of each block, and runs a block's steps once more when it
// comes back to it; the last block needs neither. A sequence of more than kSegment steps is cut into segments, of which the first is the
// short one; they are run twice, all but the last: the state at their beginnings is kept in a scratch array.
//
// `Neurons` are those of one thread:
//   Data, S, width, states, block   types of data and state; neurons; numbers of state per neuron; steps of a block
//   may_be_constant              whether x may be the same in all steps
//   has_gradients                whether there may be a gradient of each step
//   History                      what stepping back needs of the steps of a block
//   Lanes<S, width>& state(n)    the n-th number of the state, n < states
//   forward(f), backward(f)      call f(kind) once, for loops over steps; `kind` tells steps in the compiler's terms what is the same
//                                for all of them
//   step(kind, x)                one step forward
//   begin()                      called before the first step of a block that is noted:
//   note(kind, history, k, x)    one step forward, the block's k-th, with its history
//   lack(history, k, x)          called before that for steps that may not exist, to put something there: x itself, whose registers
//                                are free then
//   arrived()                    called once, when the last step was done
//   prepare(history, places)     called for the history of a block before its first step back; bit k of `places`: step k exists.
//                                What the slopes of all its steps have in common, which of several functions it is for one, is
//                                asked once here; and they do not wait for each other
//   Lanes<Data, width> step_back(kind, history, k, first, grad)   gradient of x at the block's step k; `first`: it is the first of
//                                the block. `grad` is undefined where no gradients are given
#pragma once

#include "grid.hpp"
#include "walk.hpp"

namespace spikeops::cuda {

// The steps of a segment. Long segments read less of x twice; short ones leave room for more threads on a multiprocessor, whose
// loads hide each other's latency. What a thread keeps of a step is at most so many bytes.
constexpr int64_t kSegment = 128, kSmallSegment = 48;
constexpr size_t kMostBytesPerStep = 10;

// Worked out by the host: a division costs a thread as much as several steps.
struct Segments {
  int64_t steps, count;

  explicit Segments(int64_t T)
      : steps(gpu::current_device().shared_bytes >= kSegment * kThreads * kMostBytesPerStep ? kSegment : kSmallSegment),
        count((T + steps - 1) / steps) {}
};

// Bytes of scratch memory for so many numbers of state per neuron.
template <class Neuron>
int64_t scratch_bytes(const Neuron& neuron, int states) {
  return states * (Segments(neuron.T).count - 1) * neuron.N * int64_t(state_size(neuron.dtype));
}

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
template <class Number>
__device__ __forceinline__ Number opaque(Number n) {
  static_assert(sizeof n == 8);
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+l"(n));
#endif
  return n;
}

// For T of at most a block.
template <class Neurons>
__device__ __forceinline__ void walk_back_at_once(Neurons& neurons,
                                                  const WalkBack<typename Neurons::Data, typename Neurons::S>& walk) {
  using Data = typename Neurons::Data;
  constexpr int width = Neurons::width, block = Neurons::block;
  static_assert(Neurons::states > 0 && block <= 32);
  const int steps = int(walk.T);
  const auto load_rows = [&](Row<Data, width> (&rows)[block], const Data* first, int64_t stride) {
    stride *= sizeof(Data);
    size_t row = global_address(first + walk.i);
#pragma unroll
    for (int k = 0; k < block; ++k) {
      if (k < steps) rows[k] = load_row<width, Data>(row);
      row = opaque(row + stride);
    }
  };
  // With values for steps that there are not: registers that nothing sets for some T would be taken all the time.
  Row<Data, width> x[block]{}, grad[block]{};
  load_rows(x, walk.x, walk.x_stride);
  if (Neurons::has_gradients && walk.grad != nullptr) load_rows(grad, walk.grad, walk.N);

  typename Neurons::History history{};
  neurons.begin();
  neurons.forward([&](auto kind) {
#pragma unroll
    for (int k = 0; k < block; ++k) {
      neurons.lack(history, k, x[k].lanes());
      if (k < steps) neurons.note(kind, history, k, x[k].lanes());
    }
  });
  neurons.arrived();
  neurons.prepare(history, ~0u >> (32 - steps));

  const int64_t stride = walk.N * sizeof(Data);
  size_t row = opaque(global_address(walk.grad_x + walk.i) + (block - 1) * stride);
  neurons.backward([&](auto kind) {
#pragma unroll
    for (int k = block - 1; k >= 0; --k) {
      if (k < steps) {
        const Lanes<Data, width> grad_x = neurons.step_back(kind, history, k, k == 0, grad[k].lanes());
        if (!Neurons::may_be_constant || walk.x_stride != 0) store(row, grad_x);
      }
      row = opaque(row - stride);
    }
  });
}

// What a thread keeps in shared memory.
template <class Neurons>
class Kept {
 public:
  using Data = typename Neurons::Data;
  using S = typename Neurons::S;
  static constexpr int width = Neurons::width, block = Neurons::block;
  static_assert((block & (block - 1)) == 0);
  static_assert(kSegment % block == 0 && kSmallSegment % block == 0, "all blocks but the first are whole");
  static_assert(sizeof(Lanes<Data, width>) + Neurons::states * sizeof(Lanes<S, width>) / block <= kMostBytesPerStep);

  static size_t bytes(int64_t T, const Segments& segments) {
    return size_t(blocks(T, segments)) * kThreads * (block * sizeof(Row<Data, width>) + Neurons::states * sizeof(Number));
  }

  __device__ __forceinline__ Kept(int64_t T, const Segments& segments, unsigned char* shared)
      : rows_(reinterpret_cast<Row<Data, width>*>(shared) + threadIdx.x),
        states_(reinterpret_cast<Number*>(shared + blocks(T, segments) * block * kThreads * int(sizeof(Row<Data, width>))) +
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
  constexpr int width = Neurons::width, states = Neurons::states, block = Neurons::block;
  static_assert(block < 32);
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
  size_t next = 0;  // address of the next row
  int64_t next_stride = 0;
  unsigned next_places = 0;
  const auto load_next = [&](int k) {
    if (next_places >> k & 1) rows[k] = load_row<width, Data>(next);
    next = opaque(next + next_stride);
  };
  const auto x_is_next = [&](int b) {
    next = global_address(walk.x + (opaque(walk.i) + first_step(b) * walk.x_stride));
    next_stride = opaque(walk.x_stride * int64_t(sizeof(Data)));
    next_places = places(b);
  };
  const auto nothing_is_next = [&] {
    next_stride = 0;
    next_places = 0;
  };
  const auto gradient_is_next = [&](int b) {  // from the last step of the block to the first
    if (!Neurons::has_gradients || walk.grad == nullptr) return nothing_is_next();
    next = global_address(walk.grad + (opaque(walk.i) + (first_step(b) + block - 1) * N));
    next_stride = opaque(-N * int64_t(sizeof(Data)));
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
      neurons.forward([&](auto kind) {
#pragma unroll
        for (int k = 0; k < block; ++k) {
          if (now >> k & 1) {
            if (kept_as >= 0) kept.row(kept_as, k) = rows[k];
            neurons.step(kind, rows[k].lanes());
          }
          load_next(k);
        }
      });
    }

    typename Neurons::History history{};
    unsigned now = places(b);
    gradient_is_next(b);
    neurons.begin();
    neurons.forward([&](auto kind) {
#pragma unroll
      for (int k = 0; k < block; ++k) {
        if (now >> k & 1) neurons.note(kind, history, k, rows[k].lanes());
        load_next(k);
      }
    });
    if (segment == segments - 1) neurons.arrived();

    size_t grad_x = global_address(walk.grad_x + (opaque(walk.i) + (first_step(b) + block - 1) * N));
#pragma unroll 1
    for (;;) {
      if (b > first)
        gradient_is_next(b - 1);
      else if (segment > 0)
        x_is_next(first_block(segment - 1));
      else
        nothing_is_next();
      neurons.prepare(history, now);
      const int64_t grad_x_stride = opaque(N * int64_t(sizeof(Data)));
      neurons.backward([&](auto kind) {
#pragma unroll
        for (int k = block - 1; k >= 0; --k) {
          const int row = block - 1 - k;
          if (now >> k & 1) {
            const Lanes<Data, width> grad = neurons.step_back(kind, history, k, (now << 1 >> k & 1) == 0, rows[row].lanes());
            if (!Neurons::may_be_constant || walk.x_stride != 0) store(grad_x, grad);
          }
          grad_x = opaque(grad_x - grad_x_stride);
          load_next(row);
        }
      });
      if (b == first) break;
      --b;
      now = places(b);
      const int kept_as = b - first;
      for (int n = 0; n < states; ++n) neurons.state(n) = kept.state(kept_as, n);
      neurons.begin();
      neurons.forward([&](auto kind) {
#pragma unroll
        for (int k = 0; k < block; ++k)
          if (now >> k & 1) neurons.note(kind, history, k, kept.row(kept_as, k).lanes());
      });
    }
    if (segment == 0) break;
    b = first_block(segment - 1);
    for (int n = 0; n < states; ++n)
      neurons.state(n) = load<width>(static_cast<const typename Neurons::S*>(scratch(n, segment - 1)));
  }
}

// How the threads of a kernel walk back: so many neurons each, in blocks of so many steps, of which there is one.
template <int width_, int block_, bool at_once_>
struct Walk {
  static constexpr int width = width_, block = block_;
  static constexpr bool at_once = at_once_;
};

template <class Neurons, class Walk>
__device__ __forceinline__ void walk_back(Neurons& neurons, const WalkBack<typename Neurons::Data, typename Neurons::S>& walk) {
  if constexpr (Walk::at_once) {
    walk_back_at_once(neurons, walk);
  } else {
    GPU_DYNAMIC_SHARED(unsigned char, shared);
    walk_back(neurons, Kept<Neurons>(walk.T, walk.segments, shared), walk);
  }
}

template <class Neurons, class Walk>
size_t kept_bytes(int64_t T, const Segments& segments) {
  if constexpr (Walk::at_once) return 0;
  else return Kept<Neurons>::bytes(T, segments);
}

// What a kernel does that walks back with Neurons(args, params, first neuron of a thread); `grad` is that of their output.
template <class Neurons, class Walk, class Args, class Params>
__device__ __forceinline__ void walk_all_back(const Args& args, const Params& params, const void* grad,
                                              typename Neurons::S* scratch, const Segments& segments) {
  using Data = typename Neurons::Data;
  const auto& n = args.neuron;
  for_each_group<Walk::width>(n.N, [&](int64_t first) {
    Neurons neurons(args, params, first);
    walk_back<Neurons, Walk>(neurons, {n.T, n.N, segments, static_cast<const Data*>(n.x), n.x_stride, static_cast<const Data*>(grad),
                                       static_cast<Data*>(args.grad_x), scratch, first});
    neurons.store_sums();
  });
}

// to[first + l] = part(carry[l]), unless nobody wants it.
template <class S, int width, class Carry, class Part>
__device__ __forceinline__ void store_part(void* to, int64_t first, const Lanes<Carry, width>& carry, Part part) {
  if (to == nullptr) return;
  Lanes<S, width> parts;
  for (int l = 0; l < width; ++l) parts[l] = part(carry[l]);
  store(static_cast<S*>(to) + first, parts);
}

// Of neurons that keep much: one a thread, wherever arrays begin, in blocks of 8 steps for all data. The history of longer ones would
// leave room for too few threads.
using ShortWalk = Walk<1, 8, false>;

template <class Neurons, class Args, class Params>
int launch_short_walk(void* stream, void (*kernel)(Args, Params, typename Neurons::S*, Segments), const Args& args,
                      const Params& params, void* scratch) {
  const Segments segments(args.neuron.T);
  return Work(args.neuron.N, ShortWalk::width, {})
      .launch_of(ShortWalk::width, stream, kept_bytes<Neurons, ShortWalk>(args.neuron.T, segments), kernel, args, params,
                 static_cast<typename Neurons::S*>(scratch), segments);
}

// Blocks on a multiprocessor for which registers must suffice, about as many as loads must be under way from. (A multiprocessor
// deals out registers in quarters, so that in between there is little to gain.)
template <class Data, class Walk>
constexpr int kWalkBackBlocks = sizeof(Data) == 8 || Walk::width * Walk::block > 32 ? 4
                                : Walk::width * Walk::block == 32                   ? 6
                                                                                    : 8;

// Those among which a kernel can choose: for its most frequent use all, for others fewer, since each is a kernel of its own.
enum class Walks { all, fewer, of_any_length };

// Neurons a thread for accesses of 4 bytes.
template <class Data>
constexpr int kNarrow = sizeof(Data) == 2 ? 2 : 1;

// f(Walk{}) for the one that suits `T` steps of `work`. One neuron a thread, or two of 16 bits, makes for accesses of 4 bytes: whole
// sectors for a warp, and the registers of a thread suffice for more steps. Where there are but few steps, wide accesses make up
// for what a thread costs, if there are neurons enough to keep every multiprocessor busy. `work` must suit `narrow` neurons a thread
// unless walks are of_any_length.
template <class Data, Walks walks, int narrow = kNarrow<Data>, class F>
int with_walk(const Work& work, int64_t T, F f) {
  constexpr int wide = 4;
  if constexpr (sizeof(Data) == 8) {
    return f(Walk<1, 8, false>{});
  } else {
    if constexpr (walks == Walks::all && narrow == 1)
      if (T <= 4 && work.keeps_busy(wide)) return f(Walk<wide, 4, true>{});
    if constexpr (walks == Walks::all || (walks == Walks::fewer && narrow == 1))
      if (T <= 8 && work.keeps_busy(wide)) return f(Walk<wide, 8, true>{});
    if constexpr (walks != Walks::of_any_length && narrow == 1)
      if (T <= 16) return f(Walk<1, 16, true>{});
    if constexpr (walks != Walks::of_any_length)
      if (16 < T && T <= 32) return f(Walk<narrow, 32, true>{});
    if constexpr (narrow > 1 && walks == Walks::of_any_length)
      if (!work.suits(narrow)) return f(Walk<1, 16, false>{});
    return f(Walk<narrow, 16, false>{});
  }
}

}  // namespace spikeops::cuda
