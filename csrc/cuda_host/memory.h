// Memory of ops under test: everything that they allocate begins as NaN, so that what no kernel wrote shows, and ends where its
// tensor ends, so that an overrun meets a sanitizer's guard zone.
#pragma once

#include <cstdint>

namespace spikeops {

constexpr unsigned char kPoison = 0xff;  // of all bytes: NaN in every floating format, -1 in the integers

// Tensors begin so many elements behind a 16-byte border: all of them, or only the one that is allocated at this place from now on.
void set_memory_offset(int64_t elements, int64_t only = -1);

}  // namespace spikeops
