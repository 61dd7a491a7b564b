// How a kernel's work is shared among torch's threads, by a model of what that costs and saves. The bits are the same however it is.
//
// Threads take pieces of the work, one after the other, so that those that come late find less to do or nothing. What is left to wait for
// is that each of them has been there: OpenMP's end of a parallel region. On a machine with nothing else to do that takes a few
// microseconds; where other programs keep the cores busy, until the operating system gives them up, some milliseconds. How long it took
// of late is part of the price of another thread: small work then stays with the thread that it came to. What another thread saves
// follows from what the kernel took of late: an element of one takes ten times as long as that of another.
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

// The model's numbers, in nanoseconds.
constexpr int64_t kFork = 6000;        // to begin and end a parallel region, whose threads may have gone to sleep
constexpr int64_t kWorthAThread = 8000;  // less work than that for each is lost in moving it from one core's cache to another's
constexpr int64_t kPiecesPerThread = 4;

inline void observe_lateness(int64_t late) {
  const int64_t before = lateness_of_threads.load(std::memory_order_relaxed);
  lateness_of_threads.store(late > before ? late : (3 * before + late) / 4, std::memory_order_relaxed);
}

using Clock = std::chrono::steady_clock;

inline int64_t nanoseconds(Clock::duration time) { return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count(); }

// What an element (a neuron's time step) of a kernel takes in one thread, in nanoseconds, from how long it took of late. One that was
// interrupted counts little, one that was quick at once.
class Price {
 public:
  static constexpr int64_t kTooFew = 4096;  // a call, and the clock, take as long

  int64_t of(int64_t elements) const { return int64_t(double(elements) * double(per_element_.load(std::memory_order_relaxed))); }

  void observe(int64_t elements, Clock::duration time) {
    if (elements < kTooFew) return;
    const float before = per_element_.load(std::memory_order_relaxed), now = float(nanoseconds(time)) / float(elements);
    per_element_.store(now < before ? now : std::min(before + (now - before) / 8, kMost), std::memory_order_relaxed);
  }

 private:
  static constexpr float kMost = 16;
  std::atomic<float> per_element_{0.25f};   // of the plain neurons, with vectors of 64 bytes
};

inline int64_t threads_for(int64_t groups, int64_t work) {
  if (shares_all_work.load(std::memory_order_relaxed)) return std::min(groups, int64_t(torch::stable::get_num_threads()));
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
  static constinit Price price;  // of this kernel: its body has a type of its own
  const int64_t threads = threads_for(groups, price.of(groups * elements_of_group));
  Clock::time_point began, ended;  // of the last piece of this thread, which in a region is the first
  const auto timed = [&](int64_t begin, int64_t end) {
    began = Clock::now();
    body(begin, end);
    ended = Clock::now();
    price.observe((end - begin) * elements_of_group, ended - began);
  };
  if (threads <= 1) {
    if (groups * elements_of_group >= Price::kTooFew) timed(0, groups);
    else if (groups > 0) body(0, groups);
    return;
  }
  // Rather some pieces more than one too many for a thread: of few large groups half would wait for the rest.
  const int64_t size = std::max<int64_t>(1, groups / (threads * kPiecesPerThread));
  std::atomic<int64_t> next{0};
  bool took_part = false;
  torch::stable::parallel_for(0, threads, 1, [&](int64_t thread, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(size, std::memory_order_relaxed)) < groups;) {
      const int64_t end = std::min(groups, begin + size);
      if (thread == 0) timed(begin, end), took_part = true;
      else body(begin, end);
    }
  });
  if (!took_part) return;
  observe_lateness(std::max<int64_t>(0, nanoseconds((Clock::now() - ended) - (ended - began))));
}

}  // namespace
}  // namespace spikeops
