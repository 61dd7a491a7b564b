// Runs the CPU kernels on torch's own threads.
#pragma once

#include "../../kernels/cpu/kernels.h"
#include "threads.h"

namespace spikeops {
namespace {

class Backend {
 public:
  static constexpr const char* kDispatchKey = "CPU";
  static constexpr bool kDefinesOps = true;

  explicit Backend(const Tensor&) {}

  template <class Args>
  void run(const Args& args) const {
    const cpu::Kernel<Args> kernel = cpu::kernel_for(args);
    const Shares shares = shares_for(args);
    const int64_t together = std::max<int64_t>(shares.together, 1), groups = (shares.items + together - 1) / together;
    in_parallel(groups, together * std::max<int64_t>(shares.elements, 1), [&](int64_t begin, int64_t end) {
      kernel(args, begin * together, std::min(shares.items, end * together));
    });
  }

 private:
  // On torch's threads, from which no exception may come: OpenMP would end the process, torch would hide what it says.
  template <class Body>
  static void in_parallel(int64_t groups, int64_t elements, const Body& body) {
    std::atomic<int64_t> lacking{0};
    share(groups, elements, [&](int64_t begin, int64_t end) {
      try {
        body(begin, end);
      } catch (const cpu::NoMemory& error) {
        lacking = error.bytes;
      }
    });
    if (lacking) no_memory_for_scratch(lacking);
  }

  template <class Args>
  static Shares shares_for(const Args& args) {
    if constexpr (requires { shares_of(args); }) return shares_of(args);
    else if constexpr (requires { args.neuron; }) return shares_of_neurons(args.neuron.T, args.neuron.N);
    else return shares_of_neurons(args.T, args.N);
  }
};

}  // namespace
}  // namespace spikeops
