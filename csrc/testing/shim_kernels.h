#pragma once

#include <cstdint>

namespace spikeops::testing {

// Right kernels.
void indices(int* out, const unsigned* grid, const unsigned* block);
void block_sum(const float* x, float* out, int blocks, int threads);
void rotate(const float* x, float* out, int blocks, int by, bool barrier);             // a race without the barrier
void read_then_overwrite(const float* x, float* out, bool barrier);                    // likewise
void shuffle(const int* x, int* out, int threads, int kind, int argument, int width);  // kind: idx, up, down, xor
void vote(const int* x, unsigned* out, int threads);                                   // ballot, any, all per thread
void early_exit(float* out, int survivors);
void idle(const unsigned* grid, const unsigned* block, int64_t shared_bytes);

// Wrong kernels; the overruns and the float4 copy are right for an excess of 0 and an aligned pointer.
void shuffle_from_outside(float* out);
void unwritten_shared(float* out);
void divergent_barrier(float* out);
void barrier_against_warp(float* out);
void mask_without_caller(float* out);
void differing_masks(float* out);
void differing_collectives(float* out);
void global_overrun(float* out, int threads, int64_t excess);
void static_shared_overrun(float* out, int excess);
void dynamic_shared_overrun(float* out, int excess);
void copy_float4(const float* x, float* out, int count);
void copy_lanes(const float* x, float* out, int count);

}  // namespace spikeops::testing
