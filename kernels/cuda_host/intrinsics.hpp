// CUDA's device functions as far as the kernels use them. Each synchronising one passes its caller's source line on,
// so that the machine can tell which barrier a thread waits at.
#pragma once

#include "machine.hpp"

#define CUDA_HOST_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_HOST_HERE) { cuda_host::Machine::instance().block_barrier({file, line}); }

inline void __syncwarp(unsigned mask = ~0u, CUDA_HOST_HERE) { cuda_host::Machine::instance().sync_warp(mask, {file, line}); }

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_HOST_HERE) {
  return cuda_host::Machine::instance().vote(mask, predicate != 0, {file, line});
}

inline int __any_sync(unsigned mask, int predicate, CUDA_HOST_HERE) { return __ballot_sync(mask, predicate, file, line) != 0; }

inline int __all_sync(unsigned mask, int predicate, CUDA_HOST_HERE) { return __ballot_sync(mask, !predicate, file, line) == 0; }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_HOST_HERE) {
  auto& machine = cuda_host::Machine::instance();
  const int segment = machine.lane() & ~(width - 1);
  return machine.shuffle(mask, value, segment | (source & (width - 1)), {file, line});
}

// The three below return a lane's own value where the source would lie outside its segment.
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_HERE) {
  auto& machine = cuda_host::Machine::instance();
  const int lane = machine.lane(), source = lane - int(delta);
  return machine.shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, {file, line});
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_HERE) {
  auto& machine = cuda_host::Machine::instance();
  const int lane = machine.lane(), source = lane + int(delta);
  return machine.shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, {file, line});
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, CUDA_HOST_HERE) {
  auto& machine = cuda_host::Machine::instance();
  const int lane = machine.lane(), source = lane ^ lane_mask;
  return machine.shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, {file, line});
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }

#undef CUDA_HOST_HERE
