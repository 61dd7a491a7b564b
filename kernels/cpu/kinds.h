// What is the same for all neurons of a call becomes a template argument: body.operator()<kind>().
#pragma once

#include "../math/lif.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Body>
inline void with_reset(int reset, Body body) {
  switch (static_cast<Reset>(reset)) {
    case Reset::subtract: return body.template operator()<Reset::subtract>();
    case Reset::to: return body.template operator()<Reset::to>();
    case Reset::none: return body.template operator()<Reset::none>();
  }
}

template <class Body>
inline void with_surrogate(int surrogate, Body body) {
  switch (static_cast<Surrogate>(surrogate)) {
    case Surrogate::atan: return body.template operator()<Surrogate::atan>();
    case Surrogate::sigmoid: return body.template operator()<Surrogate::sigmoid>();
    case Surrogate::exponential: return body.template operator()<Surrogate::exponential>();
    case Surrogate::fast_sigmoid: return body.template operator()<Surrogate::fast_sigmoid>();
    case Surrogate::triangle: return body.template operator()<Surrogate::triangle>();
    case Surrogate::rectangle: return body.template operator()<Surrogate::rectangle>();
    default: return body.template operator()<Surrogate::gaussian>();
  }
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
