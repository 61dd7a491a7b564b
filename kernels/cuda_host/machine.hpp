// The machine that runs a CUDA grid on one CPU thread: blocks one after another, the threads of a block as lazy fibers.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "fiber.hpp"
#include "qualifiers.hpp"

namespace cuda_host {

// A fault of the kernel or of its launch: what a device would answer with an error, a hang or silent nonsense.
struct KernelFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Location {
  const char* file;
  int line;
  bool operator==(const Location& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};
std::string to_string(const Location& where);

enum class ThreadOrder { forward, reverse, shuffled };  // in which order the threads of a block start, and the blocks

class Machine {
 public:
  static Machine& instance();

  void set_order(ThreadOrder order, unsigned seed = 0);
  void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread_body);

  // What a running CUDA thread calls.
  enum class Collective : uint8_t { shuffle, vote, sync };
  void block_barrier(Location where);
  uint32_t vote(uint32_t mask, bool predicate, Location where);
  void sync_warp(uint32_t mask, Location where);
  unsigned char* dynamic_shared() { return dynamic_shared_.get(); }
  int lane() const { return current_ % warp_size; }
  [[noreturn]] void misaligned(size_t alignment);

  // The value of `source`, or all ones (NaN) where that lane is not in the mask or has exited.
  template <class T>
  T shuffle(uint32_t mask, T value, int source, Location where) {
    static_assert(sizeof(T) <= sizeof(Thread::sent) && std::is_trivially_copyable<T>::value,
                  "a shuffle moves up to 16 plain bytes");
    Thread& self = threads_[current_];
    std::memcpy(self.sent, &value, sizeof value);
    self.source_lane = source;
    rendezvous(Collective::shuffle, mask, where);
    std::memcpy(&value, self.received, sizeof value);
    return value;
  }

  static constexpr int warp_size = 32;

  // What the machine says of itself to launchers. With no multiprocessors to fill, they need not spread small work.
  int multiprocessors = 0;
  size_t shared_bytes = most_shared_bytes;
  static constexpr size_t most_shared_bytes = 227 << 10;  // compute capability 9.0; what fits 8.0 fits here too

  // The last launch.
  dim3 last_grid;
  size_t last_shared_bytes = 0;

 private:
  enum class State : uint8_t { fresh, runnable, at_barrier, in_collective, exited };

  struct Thread {
    State state;
    uint3 index;
    Fiber* fiber;    // the fiber it is parked on
    Location where;  // the barrier or collective at which it waits
    Collective collective;
    uint32_t mask;
    int source_lane;
    bool predicate;
    unsigned char sent[16], received[16];
  };
  struct Warp {
    uint32_t exist, waiting, exited;  // lanes as bits
  };

  Machine() = default;
  void check_configuration(dim3 grid, dim3 block, size_t shared_bytes) const;
  std::vector<int64_t> ordered(int64_t count, int64_t salt) const;
  void run_block();
  void report_deadlock();
  void abandon_block();
  static void worker(Fiber& fiber);
  Fiber* idle_fiber();
  void run_fiber(Fiber* fiber);
  void select(int thread);
  void park();
  void finish(int thread);
  void make_runnable(int thread);
  void release_barrier_if_complete();
  void rendezvous(Collective collective, uint32_t mask, Location where);
  void complete_if_all_arrived(int warp, uint32_t mask);
  void record_fault(const std::string& what);
  [[noreturn]] void raise(const std::string& what);

  ThreadOrder order_ = ThreadOrder::forward;
  unsigned seed_ = 0;

  const std::function<void()>* thread_body_ = nullptr;
  std::unique_ptr<unsigned char[]> dynamic_shared_;
  size_t dynamic_shared_bytes_ = 0;

  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<int64_t> start_order_;
  size_t started_ = 0;
  int exited_ = 0, at_barrier_ = 0;
  int current_ = -1;
  std::vector<int> runnable_;  // first in, first out
  size_t next_runnable_ = 0;
  std::string fault_;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber* running_ = nullptr;
};

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(Machine::instance().dynamic_shared());
}

}  // namespace cuda_host
