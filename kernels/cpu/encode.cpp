// Poisson and latency encoding.
#include "../math/encode.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {

void poisson_encode(const PoissonEncode& args, int64_t begin, int64_t end) {
  const uint64_t key = uint64_t(*args.seed);
  with_dtype(args.dtype, [&](auto data) {
    using Data = decltype(data);
    const Data* __restrict p = static_cast<const Data*>(args.p);
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      for (int64_t t = 0; t < args.T; t += 4) {
        Data* __restrict spikes = static_cast<Data*>(args.spikes) + t * args.N + n0;
        const int64_t steps = smaller(4, args.T - t);
        for (int64_t i = 0; i < n; ++i) {
          const Philox4 random = philox(key, uint64_t(n0 + i), uint64_t(t / 4));
          const float probability = float(to_state(p[n0 + i]));
          for (int64_t k = 0; k < steps; ++k) spikes[k * args.N + i] = spike_value<Data>(uniform24(random.v[k]) < probability);
        }
      }
    });
  });
}

void latency_encode(const LatencyEncode& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) {
    using Data = decltype(data);
    const Data* __restrict p = static_cast<const Data*>(args.p);
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      for (int64_t t = 0; t < args.T; ++t) {
        Data* __restrict spikes = static_cast<Data*>(args.spikes) + t * args.N + n0;
        for (int64_t i = 0; i < n; ++i) spikes[i] = spike_value<Data>(latency(to_state(p[n0 + i]), args.T) == t);
      }
    });
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
