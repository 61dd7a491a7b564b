// When current-based neurons reset becomes a template argument.
#pragma once

#include "../math/cuba_lif.h"
#include "kinds.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body.operator()<reset, timing>(), for one of those that are the same: what is subtracted late is taken from the input, too, and
// without a reset there is none that could be late.
template <class Body>
inline void with_timing(int reset, int timing, Body body) {
  if (static_cast<CubaTiming>(timing) == CubaTiming::now || static_cast<Reset>(reset) == Reset::none)
    with_reset(reset, [&]<Reset kind>() { body.template operator()<kind, CubaTiming::now>(); });
  else if (static_cast<Reset>(reset) == Reset::subtract)
    body.template operator()<Reset::subtract, CubaTiming::late>();
  else if (static_cast<CubaTiming>(timing) == CubaTiming::late)
    body.template operator()<Reset::to, CubaTiming::late>();
  else
    body.template operator()<Reset::to, CubaTiming::late_with_input>();
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
