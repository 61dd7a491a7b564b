#include "fiber.hpp"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
// No sanitizer: there is nobody to tell about a change of stack.
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

namespace cuda_host {
namespace {

constexpr size_t guard_bytes = 4096;
constexpr size_t stack_bytes = 64 << 10;  // AddressSanitizer clears a stack's shadow at each switch: keep it small

Fiber* starting = nullptr;  // makecontext hands over ints only

}  // namespace

Fiber::Fiber(Entry entry) : entry_(entry) {
    void* memory = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
    __sanitizer_finish_switch_fiber(nullptr, &self.outside_stack_, &self.outside_stack_bytes_);
    self.entry_(self);
}

void Fiber::resume() {
    starting = this;
    __sanitizer_start_switch_fiber(&outside_fake_stack_, memory_ + guard_bytes, stack_bytes);
    swapcontext(&outside_, &inside_);
    __sanitizer_finish_switch_fiber(outside_fake_stack_, nullptr, nullptr);
}

void Fiber::suspend() {
    __sanitizer_start_switch_fiber(&inside_fake_stack_, outside_stack_, outside_stack_bytes_);
    swapcontext(&inside_, &outside_);
    __sanitizer_finish_switch_fiber(inside_fake_stack_, &outside_stack_, &outside_stack_bytes_);
}

}  // namespace cuda_host
