// Sums in a fixed order. A row is cut into blocks of kRowSumBlock elements. Within a block, lane l adds the elements
// l, l + kRowSumLanes, ... in order, in double; the lanes are then added in order, and so are the blocks. Neither the number
// of threads nor the backend enters.
#pragma once

#include "base.h"

namespace spikeops {

constexpr int kRowSumBlock = 4096;
constexpr int kRowSumLanes = 32;

}  // namespace spikeops
