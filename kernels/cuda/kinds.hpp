// What is the same for all threads is asked once, before the loop whose arithmetic may then overlap: body(Kind<value>{}).
#pragma once

#include <type_traits>

#include "../math/surrogate.h"
#include "gpu.hpp"

namespace spikeops::cuda {

template <auto value>
using Kind = std::integral_constant<decltype(value), value>;

template <class Body>
__device__ __forceinline__ void with_surrogate(int surrogate, Body body) {
  switch (static_cast<Surrogate>(surrogate)) {
    case Surrogate::atan: return body(Kind<Surrogate::atan>{});
    case Surrogate::sigmoid: return body(Kind<Surrogate::sigmoid>{});
    case Surrogate::exponential: return body(Kind<Surrogate::exponential>{});
    case Surrogate::fast_sigmoid: return body(Kind<Surrogate::fast_sigmoid>{});
    case Surrogate::triangle: return body(Kind<Surrogate::triangle>{});
    case Surrogate::rectangle: return body(Kind<Surrogate::rectangle>{});
    default: return body(Kind<Surrogate::gaussian>{});
  }
}

}  // namespace spikeops::cuda
