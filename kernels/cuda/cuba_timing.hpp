// When current-based neurons reset is asked once, before the loop over steps.
#pragma once

#include "../math/cuba_lif.h"
#include "gpu.hpp"

namespace spikeops::cuda {

template <Reset reset_, CubaTiming timing_>
struct TimedReset {
  static constexpr Reset reset = reset_;
  static constexpr CubaTiming timing = timing_;
};

// f(TimedReset{}), for one of those that are the same: what is subtracted late is taken from the input, too, and without a reset there is
// none that could be late.
template <class F>
__device__ __forceinline__ void with_timing(int reset, int timing, F f) {
  const bool now = static_cast<CubaTiming>(timing) == CubaTiming::now, late = static_cast<CubaTiming>(timing) == CubaTiming::late;
  switch (static_cast<Reset>(reset)) {
    case Reset::subtract:
      return now ? f(TimedReset<Reset::subtract, CubaTiming::now>{}) : f(TimedReset<Reset::subtract, CubaTiming::late>{});
    case Reset::to:
      return now    ? f(TimedReset<Reset::to, CubaTiming::now>{})
             : late ? f(TimedReset<Reset::to, CubaTiming::late>{})
                    : f(TimedReset<Reset::to, CubaTiming::late_with_input>{});
    default: return f(TimedReset<Reset::none, CubaTiming::now>{});
  }
}

}  // namespace spikeops::cuda
