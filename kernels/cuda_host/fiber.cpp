#include "fiber.hpp"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_host {
namespace {

constexpr size_t guard_bytes = 4096;
constexpr size_t stack_bytes = 64 << 10;  // AddressSanitizer clears a stack's shadow at each switch: keep it small

Fiber* starting = nullptr;  // makecontext hands over ints only

#if defined(__SANITIZE_ADDRESS__)
void announce_leaving(void** own_fake_stack, const void* next_stack, size_t next_bytes) {
  __sanitizer_start_switch_fiber(own_fake_stack, next_stack, next_bytes);
}
void announce_arrival(void* own_fake_stack, const void** last_stack, size_t* last_bytes) {
  __sanitizer_finish_switch_fiber(own_fake_stack, last_stack, last_bytes);
}
#else
void announce_leaving(void**, const void*, size_t) {}
void announce_arrival(void*, const void**, size_t*) {}
#endif

}  // namespace

Fiber::Fiber(Entry entry) : entry_(entry) {
  void* memory =
      mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_, guard_bytes, PROT_NONE);
  getcontext(&inside_);
  inside_.uc_stack.ss_sp = memory_ + guard_bytes;
  inside_.uc_stack.ss_size = stack_bytes;
  inside_.uc_link = nullptr;
  makecontext(&inside_, &Fiber::trampoline, 0);
}

Fiber::~Fiber() { munmap(memory_, guard_bytes + stack_bytes); }

void Fiber::trampoline() {
  Fiber& self = *starting;
  announce_arrival(nullptr, &self.outside_stack_, &self.outside_stack_bytes_);
  self.entry_(self);
}

void Fiber::resume() {
  starting = this;
  announce_leaving(&outside_fake_stack_, memory_ + guard_bytes, stack_bytes);
  swapcontext(&outside_, &inside_);
  announce_arrival(outside_fake_stack_, nullptr, nullptr);
}

void Fiber::suspend() {
  announce_leaving(&inside_fake_stack_, outside_stack_, outside_stack_bytes_);
  swapcontext(&inside_, &outside_);
  announce_arrival(inside_fake_stack_, &outside_stack_, &outside_stack_bytes_);
}

}  // namespace cuda_host
