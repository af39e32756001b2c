// Announces operands to the sanitizers, which do not see what library code made at run time touches.
#include "engine/annotate.h"

#ifdef SLUICE_TSAN
extern "C" void __tsan_read_range(void* p, unsigned long bytes);  // of libtsan; it has no public header
extern "C" void __tsan_write_range(void* p, unsigned long bytes);
#endif

namespace sluice {
namespace {

[[maybe_unused]] void touch_poisoned(const void* data, int64_t bytes) {
#ifdef SLUICE_ASAN
  if (bytes <= 0) return;
  if (const void* bad = __asan_region_is_poisoned(const_cast<void*>(data), size_t(bytes)))
    (void)*static_cast<const volatile char*>(bad);  // instrumented: reports use of freed pool memory here
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace

void annotate_read([[maybe_unused]] const void* data, [[maybe_unused]] int64_t bytes) {
  touch_poisoned(data, bytes);
#ifdef SLUICE_TSAN
  if (bytes > 0) __tsan_read_range(const_cast<void*>(data), static_cast<unsigned long>(bytes));
#endif
}

void annotate_write([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
  touch_poisoned(data, bytes);
#ifdef SLUICE_TSAN
  if (bytes > 0) __tsan_write_range(data, static_cast<unsigned long>(bytes));
#endif
}

void annotate(const Operands& o) {
  for (int i = 0; i < o.read_count; ++i) annotate_read(o.reads[size_t(i)].data, o.reads[size_t(i)].bytes());
  for (int i = 0; i < o.write_count; ++i) annotate_write(o.writes[size_t(i)].data, o.writes[size_t(i)].bytes());
}

}  // namespace sluice
