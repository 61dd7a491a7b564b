// A fiber: a function with a stack of its own that can be left in the middle and resumed.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace cuda_host {

class Fiber {
 public:
  using Entry = void (*)(Fiber&);

  // `entry` must never return; it calls suspend() for good when its work is done.
  explicit Fiber(Entry entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();   // called from outside: runs the fiber until its next suspend()
  void suspend();  // called from inside: back to the caller of resume()

 private:
  static void trampoline();

  Entry entry_;
  char* memory_;  // a guard page, then the stack
  ucontext_t inside_, outside_;

  // AddressSanitizer must be told of every change of stack.
  void* inside_fake_stack_ = nullptr;
  void* outside_fake_stack_ = nullptr;
  const void* outside_stack_ = nullptr;
  size_t outside_stack_bytes_ = 0;
};

}  // namespace cuda_host
