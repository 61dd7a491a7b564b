// How a kernel's work is shared among torch's threads, by a model of what that costs and saves. The bits are the same however it is.
//
// Threads take pieces of the work, one after the other, so that those that come late find less to do or nothing. What is left to wait for
// is that each of them has been there: OpenMP's end of a parallel region. On a machine with nothing else to do that takes a few
// microseconds; where other programs keep the cores busy, until the operating system gives them up, some milliseconds. How long it took
// of late is part of the price of another thread: small work then stays with the thread that it came to.
#pragma once

#include <atomic>
#include <chrono>

#include "../common.h"

namespace spikeops {

// How long threads have kept the one that shared its work waiting, beyond the piece that they were at, in nanoseconds.
inline std::atomic<int64_t> lateness_of_threads{0};

// Of the tests: all work that can be shared is, whatever it costs.
inline std::atomic<bool> shares_all_work{false};

namespace {

// The model's numbers, in nanoseconds. An element (a neuron's time step) of the plain neurons takes 0.1 to 0.2 ns forward and 0.3 to
// 0.6 ns back, with vectors of 64 bytes; other kernels more, which errs on the side of fewer threads.
constexpr int64_t kElementsPerNanosecond = 4;
constexpr int64_t kFork = 6000;        // to begin and end a parallel region, whose threads may have gone to sleep
constexpr int64_t kWorthAThread = 8000;  // less work than that for each is lost in moving it from one core's cache to another's
constexpr int64_t kPiecesPerThread = 4;

inline void observe_lateness(int64_t late) {
  const int64_t before = lateness_of_threads.load(std::memory_order_relaxed);
  lateness_of_threads.store(late > before ? late : (3 * before + late) / 4, std::memory_order_relaxed);
}

inline int64_t threads_for(int64_t groups, int64_t elements_of_group) {
  if (shares_all_work.load(std::memory_order_relaxed)) return std::min(groups, int64_t(torch::stable::get_num_threads()));
  const int64_t work = groups * elements_of_group / kElementsPerNanosecond;
  if (groups < 2 || work < 2 * kWorthAThread) return 1;
  const int64_t threads = std::min({groups, work / kWorthAThread, int64_t(torch::stable::get_num_threads())});
  const int64_t saved = work - work / threads;
  if (threads < 2 || saved <= kFork) return 1;
  const int64_t late = lateness_of_threads.load(std::memory_order_relaxed);
  if (saved > kFork + late) return threads;
  // It is forgotten little by little, so that now and then threads are tried again.
  lateness_of_threads.store(late - (late + 7) / 8, std::memory_order_relaxed);
  return 1;
}

// Calls body(begin, end) for ranges that make up [0, groups).
template <class Body>
void share(int64_t groups, int64_t elements_of_group, const Body& body) {
  const int64_t threads = threads_for(groups, elements_of_group);
  if (threads <= 1) {
    if (groups > 0) body(0, groups);
    return;
  }
  using Clock = std::chrono::steady_clock;
  const int64_t pieces = std::min(groups, threads * kPiecesPerThread), size = (groups + pieces - 1) / pieces;
  std::atomic<int64_t> next{0};
  Clock::time_point began, ended;  // of the last piece of this thread, the region's first
  bool took_part = false;
  torch::stable::parallel_for(0, threads, 1, [&](int64_t thread, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(size, std::memory_order_relaxed)) < groups;) {
      if (thread == 0) began = Clock::now();
      body(begin, std::min(groups, begin + size));
      if (thread == 0) ended = Clock::now(), took_part = true;
    }
  });
  if (!took_part) return;
  const auto late = (Clock::now() - ended) - (ended - began);
  observe_lateness(std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::nanoseconds>(late).count()));
}

}  // namespace
}  // namespace spikeops
