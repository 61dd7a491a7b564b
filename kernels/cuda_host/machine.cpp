#include "machine.hpp"

#include <algorithm>
#include <numeric>
#include <random>

// The bounds of the section that holds every static __shared__ array; null when no kernel has one.
extern "C" char __start_cuda_host_shared[] __attribute__((weak));
extern "C" char __stop_cuda_host_shared[] __attribute__((weak));

namespace cuda_host {
namespace {

constexpr unsigned max_threads_per_block = 1024;
constexpr unsigned max_grid_yz = 65535;

// Not instrumented: AddressSanitizer's guard zones between the arrays are filled too. All ones is NaN in every
// floating-point format.
__attribute__((no_sanitize("address", "undefined"))) void poison_static_shared() {
  for (volatile char* byte = __start_cuda_host_shared; byte < __stop_cuda_host_shared; ++byte) *byte = char(0xff);
}

std::string describe(dim3 size) {
  return "(" + std::to_string(size.x) + ", " + std::to_string(size.y) + ", " + std::to_string(size.z) + ")";
}

}  // namespace

std::string to_string(const Location& where) { return std::string(where.file) + ":" + std::to_string(where.line); }

Machine& Machine::instance() {
  static Machine machine;
  return machine;
}

void Machine::set_order(ThreadOrder order, unsigned seed) {
  order_ = order;
  seed_ = seed;
}

// ---- a grid

void Machine::check_configuration(dim3 grid, dim3 block, size_t shared_bytes) const {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  const bool grid_fits =
      grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= max_grid_yz && grid.z > 0 && grid.z <= max_grid_yz;
  if (threads == 0 || threads > max_threads_per_block || !grid_fits || shared_bytes > this->shared_bytes)
    throw KernelFault("invalid launch configuration: grid " + describe(grid) + ", block " + describe(block) + ", " +
                      std::to_string(shared_bytes) + " bytes of dynamic shared memory");
}

std::vector<int64_t> Machine::ordered(int64_t count, int64_t salt) const {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (order_ == ThreadOrder::reverse) std::reverse(order.begin(), order.end());
  if (order_ == ThreadOrder::shuffled) std::shuffle(order.begin(), order.end(), std::mt19937(seed_ + salt));
  return order;
}

void Machine::launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread_body) {
  check_configuration(grid, block, shared_bytes);
  gridDim = last_grid = grid;
  last_shared_bytes = shared_bytes;
  blockDim = block;
  thread_body_ = &thread_body;
  fault_.clear();
  // A fresh allocation of the exact size, so that AddressSanitizer guards its end.
  dynamic_shared_.reset(new unsigned char[shared_bytes]);
  dynamic_shared_bytes_ = shared_bytes;
  const int threads = block.x * block.y * block.z;
  threads_.assign(threads, Thread{});
  for (int i = 0; i < threads; ++i) threads_[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
  start_order_ = ordered(threads, 1);
  for (const int64_t i : ordered(int64_t(grid.x) * grid.y * grid.z, 2)) {
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    run_block();
    if (!fault_.empty()) throw KernelFault(fault_);
  }
}

// ---- a block

void Machine::run_block() {
  const int threads = int(threads_.size());
  for (Thread& thread : threads_) thread.state = State::fresh;
  warps_.assign((threads + warp_size - 1) / warp_size, Warp{~0u, 0, 0});
  if (threads % warp_size != 0) warps_.back().exist = (1u << threads % warp_size) - 1;
  runnable_.clear();
  next_runnable_ = started_ = 0;
  exited_ = at_barrier_ = 0;
  poison_static_shared();
  std::memset(dynamic_shared_.get(), 0xff, dynamic_shared_bytes_);

  while (started_ < threads_.size() && fault_.empty()) run_fiber(idle_fiber());
  while (exited_ < threads && fault_.empty()) {
    if (next_runnable_ == runnable_.size()) {
      report_deadlock();
      break;
    }
    const int thread = runnable_[next_runnable_++];
    select(thread);
    run_fiber(threads_[thread].fiber);
  }
  if (!fault_.empty()) abandon_block();
}

void Machine::report_deadlock() {
  constexpr int most = 4;  // threads named in the message
  std::string waiting;
  int count = 0;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (threads_[i].state == State::exited || ++count > most) continue;
    const char* at = threads_[i].state == State::at_barrier ? " at the block barrier " : " at the warp collective ";
    waiting += "; thread " + std::to_string(i) + at + to_string(threads_[i].where);
  }
  record_fault("deadlock: " + std::to_string(count) + " threads wait for others that never come" + waiting);
}

// Resumes every parked thread, which then throws: destructors run and its fiber becomes idle again.
void Machine::abandon_block() {
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (threads_[i].state == State::fresh || threads_[i].state == State::exited) continue;
    select(int(i));
    run_fiber(threads_[i].fiber);
  }
}

// ---- fibers

// A worker runs one thread after another; only a thread that must wait keeps its fiber. Elementwise kernels hence
// never switch between the threads of a block.
void Machine::worker(Fiber& fiber) {
  Machine& machine = instance();
  for (;;) {
    while (machine.started_ < machine.threads_.size() && machine.fault_.empty()) {
      const int thread = int(machine.start_order_[machine.started_++]);
      machine.threads_[thread].state = State::runnable;
      machine.threads_[thread].fiber = &fiber;
      machine.select(thread);
      try {
        (*machine.thread_body_)();
      } catch (const KernelFault& fault) {
        machine.record_fault(fault.what());
      }
      machine.finish(thread);
    }
    machine.idle_.push_back(&fiber);
    fiber.suspend();
  }
}

Fiber* Machine::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Machine::worker));
    return fibers_.back().get();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void Machine::run_fiber(Fiber* fiber) {
  running_ = fiber;
  fiber->resume();
  running_ = nullptr;
}

void Machine::select(int thread) {
  current_ = thread;
  threadIdx = threads_[thread].index;
}

// Leaves the current thread waiting. The scheduler selects it again before resuming its fiber.
void Machine::park() {
  running_->suspend();
  if (!fault_.empty()) throw KernelFault(fault_);
}

void Machine::finish(int thread) {
  threads_[thread].state = State::exited;
  ++exited_;
  const int index = thread / warp_size;
  Warp& warp = warps_[index];
  warp.exited |= 1u << thread % warp_size;
  // Its exit may be what the waiting lanes of its warp were missing.
  for (uint32_t unseen = warp.waiting; unseen != 0 && fault_.empty();) {
    const uint32_t mask = threads_[index * warp_size + __builtin_ctz(unseen)].mask;
    unseen &= ~mask;
    complete_if_all_arrived(index, mask);
  }
  release_barrier_if_complete();
}

void Machine::make_runnable(int thread) {
  threads_[thread].state = State::runnable;
  if (thread != current_) runnable_.push_back(thread);
}

void Machine::record_fault(const std::string& what) {
  if (fault_.empty()) fault_ = what;
}

void Machine::raise(const std::string& what) {
  record_fault(what);
  throw KernelFault(fault_);
}

void Machine::misaligned(size_t alignment) {
  raise("misaligned address: thread " + std::to_string(current_) + " of a block touches " + std::to_string(alignment) +
        " bytes at an address that is no multiple of that");
}

// ---- block barrier

void Machine::block_barrier(Location where) {
  Thread& self = threads_[current_];
  self.state = State::at_barrier;
  self.where = where;
  ++at_barrier_;
  release_barrier_if_complete();
  if (!fault_.empty()) throw KernelFault(fault_);
  if (self.state != State::runnable) park();
}

void Machine::release_barrier_if_complete() {
  if (at_barrier_ == 0 || at_barrier_ + exited_ != int(threads_.size())) return;
  const Thread* first = nullptr;
  for (const Thread& thread : threads_) {
    if (thread.state != State::at_barrier) continue;
    if (first == nullptr) first = &thread;
    if (!(thread.where == first->where))
      return record_fault("divergent barrier: threads of one block wait at " + to_string(first->where) + " and at " +
                          to_string(thread.where));
  }
  for (const int64_t i : start_order_)
    if (threads_[i].state == State::at_barrier) make_runnable(int(i));
  at_barrier_ = 0;
}

// ---- warp collectives

uint32_t Machine::vote(uint32_t mask, bool predicate, Location where) {
  Thread& self = threads_[current_];
  self.predicate = predicate;
  rendezvous(Collective::vote, mask, where);
  uint32_t ballot;
  std::memcpy(&ballot, self.received, sizeof ballot);
  return ballot;
}

void Machine::sync_warp(uint32_t mask, Location where) { rendezvous(Collective::sync, mask, where); }

void Machine::rendezvous(Collective collective, uint32_t mask, Location where) {
  Thread& self = threads_[current_];
  if (!(mask >> lane() & 1)) raise("a lane calls a warp collective whose mask leaves it out: " + to_string(where));
  self.state = State::in_collective;
  self.collective = collective;
  self.mask = mask;
  self.where = where;
  const int warp = current_ / warp_size;
  warps_[warp].waiting |= 1u << lane();
  complete_if_all_arrived(warp, mask);
  if (!fault_.empty()) throw KernelFault(fault_);
  if (self.state != State::runnable) park();
}

// The last lane to arrive computes the results of all: no lane's slot is read after that lane has gone on.
void Machine::complete_if_all_arrived(int warp_index, uint32_t mask) {
  Warp& warp = warps_[warp_index];
  mask &= warp.exist;
  if (mask & ~(warp.waiting | warp.exited)) return;
  Thread* const lanes = &threads_[warp_index * warp_size];
  const uint32_t live = mask & warp.waiting;
  const Thread& first = lanes[__builtin_ctz(live)];
  uint32_t ballot = 0;
  for (uint32_t rest = live; rest != 0; rest &= rest - 1) {
    const Thread& lane = lanes[__builtin_ctz(rest)];
    // __syncwarp may be reached on several lines; the other collectives must be the same instruction.
    const bool same_call =
        lane.collective == first.collective && (first.collective == Collective::sync || lane.where == first.where);
    if (!same_call || (lane.mask & warp.exist) != mask)
      return record_fault("lanes of one warp mask are in different warp collectives or name different masks: " +
                          to_string(first.where) + " and " + to_string(lane.where));
    if (lane.predicate) ballot |= rest & -rest;
  }
  for (uint32_t rest = live; rest != 0; rest &= rest - 1) {
    Thread& lane = lanes[__builtin_ctz(rest)];
    std::memset(lane.received, 0xff, sizeof lane.received);
    if (lane.collective == Collective::vote) std::memcpy(lane.received, &ballot, sizeof ballot);
    if (lane.collective == Collective::shuffle && (live >> lane.source_lane & 1))
      std::memcpy(lane.received, lanes[lane.source_lane].sent, sizeof lane.received);
    make_runnable(int(&lane - threads_.data()));
  }
  warp.waiting &= ~live;
}

}  // namespace cuda_host
