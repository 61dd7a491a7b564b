// Sums over the windows of 2 x 2 that tile a map, and what they send back. On the CPU only: PyTorch's own pooling takes 5 to 20 times as
// long as a copy there, with the maps of one channel after the other.
#pragma once

#include "args.h"

namespace spikeops {

// A map of `inner` numbers at each place: one of a channel's, or all channels' side by side. A row and a column that are left over at its
// end belong to no window.
struct Windows {
  DType dtype;              // f32 or f64
  int64_t maps, height, width, inner;
  double divisor;
};

// Each window's numbers one after the other, row by row, then divided.
struct PoolForward : Windows {
  const void* x;            // (maps, height, width, inner)
  void* out;                // (maps, height / 2, width / 2, inner)
};

// Each number divided, at every place of its window; 0 at those of none.
struct PoolBackward : Windows {
  const void* grad_out;     // (maps, height / 2, width / 2, inner)
  void* grad_x;             // (maps, height, width, inner)
};

// An item is a row of windows.
SPIKEOPS_HD Shares shares_of(const Windows& a) { return {a.maps * (a.height / 2), 4, 2 * a.width * a.inner}; }

}  // namespace spikeops
