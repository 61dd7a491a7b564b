// Surrogate derivatives of all steps of a block, which know nothing of each other: several divisions are under way at once.
#pragma once

#include "division.hpp"
#include "kinds.hpp"
#include "lanes.hpp"

namespace spikeops::cuda {

// Of the surrogate derivative, in the precision of the state.
template <class S>
struct SurrogateShape { S scale, peak; };

// derivative[k][l] = that of distance(k, l), for each step k that exists: bit k of `places`.
template <int block, int width, class S, class Distance>
__device__ __forceinline__ void surrogate_derivatives(int surrogate, const SurrogateShape<S>& shape, unsigned places,
                                                      Lanes<S, width> (&derivative)[block], Distance distance) {
  constexpr int together = width == 1 ? 4 : width == 2 ? 2 : 1;  // steps whose divisions overlap; more would take more registers
  with_surrogate(surrogate, [&](auto kind) {
#pragma unroll
    for (int k = 0; k < block; k += together) {
      if ((places >> k & ((1u << together) - 1)) == 0) continue;
      OrdinaryDivision division;
      for (int j = k; j < k + together; ++j)
        for (int l = 0; l < width; ++l)
          derivative[j][l] = surrogate_derivative<decltype(kind)::value>(distance(j, l), shape.scale, shape.peak, division);
      if (division.all_ordinary()) continue;
      for (int j = k; j < k + together; ++j)
        for (int l = 0; l < width; ++l)
          derivative[j][l] = surrogate_derivative<decltype(kind)::value>(distance(j, l), shape.scale, shape.peak);
    }
  });
}

}  // namespace spikeops::cuda
