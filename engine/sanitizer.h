// Which sanitizer this build has, and what it is told about pooled memory: nothing in a build without.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SLUICE_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLUICE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define SLUICE_TSAN 1
#endif
#endif

#ifdef SLUICE_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace sluice {

#ifdef SLUICE_ASAN
inline constexpr bool kAsan = true;
inline void poison(void* p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void unpoison(void* p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
inline constexpr bool kAsan = false;
inline void poison(void*, size_t) {}
inline void unpoison(void*, size_t) {}
#endif

#if defined(SLUICE_ASAN) || defined(SLUICE_TSAN)
inline constexpr bool kAnnotated = true;  // calls announce their operands
#else
inline constexpr bool kAnnotated = false;
#endif

}  // namespace sluice
