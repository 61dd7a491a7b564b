// What crosses from a binding into a kernel: raw pointers, sizes and scalars, in a struct for each kernel, which lies beside the
// arithmetic of its family. Tensors are (T, N), time first, where N walks the neurons in memory order. Pointers marked "or null"
// switch the term off. State buffers are float, or double for double data.
#pragma once

// Scalars are rounded to the state's precision where a struct becomes parameters of the arithmetic and nowhere else, as PyTorch
// rounds a Python number that meets a tensor: std::nextafter, std::numeric_limits.
#include <cmath>
#include <limits>

#include "base.h"

namespace spikeops {

enum class DType : int { f32, f64, f16, bf16 };

// Spikes may also come as 1-byte integers or bools, or packed (pack.h).
enum class SpikeFormat : int { f32, f64, f16, bf16, byte, int32, int64 };

// How a CPU kernel's work may be shared among threads: `items` that know nothing of each other, handed out in whole groups of
// `together`, each worth `elements` numbers of memory. What a family's `shares_of(args)` says; where it says nothing, the work is
// that of T steps of N neurons.
struct Shares { int64_t items, together, elements; };

// Groups of neurons keep threads from sharing cache lines.
SPIKEOPS_HD Shares shares_of_neurons(int64_t T, int64_t N) { return {N, 256, T}; }

// Each item is worth a thread: as much as so many elements, or more.
SPIKEOPS_HD Shares shares_of_large_items(int64_t items) { return {items, 1, int64_t(1) << 18}; }

}  // namespace spikeops
