// Philox4x32-10 (Salmon et al., SC 2011): counter-based random numbers, so that a spike depends only on the seed, the
// neuron's place in memory and the time step, never on threads, blocks or backends.
#pragma once

#include "base.h"

namespace spikeops {

struct Philox4 { uint32_t v[4]; };

SPIKEOPS_HD Philox4 philox(uint64_t key, uint64_t neuron, uint64_t time_group) {
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  uint32_t c0 = uint32_t(neuron), c1 = uint32_t(neuron >> 32), c2 = uint32_t(time_group), c3 = uint32_t(time_group >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c0 = n0; c1 = uint32_t(p1); c2 = n2; c3 = uint32_t(p0);
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1) with 24 bits: exact in float32.
SPIKEOPS_HD float uniform24(uint32_t bits) { return float(bits >> 8) * 5.9604644775390625e-8f; }

}  // namespace spikeops
