// Stacks that device threads run on: a hand-written switch on x86-64, since ucontext makes a system call at each switch
// (ten times the time of a layer norm), and ucontext elsewhere.
#include "emu/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__x86_64__)
extern "C" void emu_switch_stack(void** save, void* to);
// Callee-saved registers go on the old stack, come from the new one; `ret` finds where the new one stopped.
asm(R"(
.text
.globl emu_switch_stack
.type emu_switch_stack, @function
emu_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch_stack, . - emu_switch_stack
)");
#endif

namespace emu {
namespace {

constexpr size_t kStack = size_t{128} << 10;  // committed as it is used
size_t page() { return size_t(sysconf(_SC_PAGESIZE)); }

}  // namespace

struct Fiber::Context {
#if defined(__x86_64__)
  void* top = nullptr;  // of the stack at the last switch away
#else
  ucontext_t saved{};
#endif
};

Fiber::Fiber() : context_(std::make_unique<Context>()) {}

Fiber::Fiber(void (*entry)()) : entry_(entry), context_(std::make_unique<Context>()) {
  void* const memory =
      mmap(nullptr, page() + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, page(), PROT_NONE);  // a stack that is too small dies here, not in its neighbour
  begin_ = static_cast<std::byte*>(memory) + page();
  end_ = begin_ + kStack;
  restart();
}

Fiber::~Fiber() {
  if (begin_ != nullptr) munmap(begin_ - page(), page() + kStack);
}

#if defined(__x86_64__)

void Fiber::restart() {
  constexpr int kRegisters = 6;
  auto* slot = reinterpret_cast<void**>(end_) - 1;  // what entry() would return to; keeps rsp % 16 == 8 at its start
  *slot = nullptr;
  *--slot = reinterpret_cast<void*>(entry_);
  for (int i = 0; i < kRegisters; ++i) *--slot = nullptr;
  context_->top = slot;
}

void Fiber::switch_to(Fiber& to) { emu_switch_stack(&context_->top, to.context_->top); }

#else

void Fiber::restart() {
  getcontext(&context_->saved);
  context_->saved.uc_stack.ss_sp = begin_;
  context_->saved.uc_stack.ss_size = kStack;
  context_->saved.uc_link = nullptr;
  makecontext(&context_->saved, entry_, 0);
}

void Fiber::switch_to(Fiber& to) { swapcontext(&context_->saved, &to.context_->saved); }

#endif

}  // namespace emu
