// The kernels of the program: how to call each and how to copy its arguments.
#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "emu/grid.h"

namespace emu {
namespace {

struct Signature {
  Thunk call;
  Pack pack;
};

struct Registry {
  std::mutex mutex;  // any host thread may be the first to launch a kernel
  std::map<const void*, Kernel> by_function;
  std::map<std::string, const Kernel*> by_mangled_name;
  std::map<std::string, Signature> by_parameters;  // "(float*, long)"
};
Registry& registry() {
  static Registry r;
  return r;
}

/// A function's name and its parameters, "f<int>" and "(float*, long)".
struct Demangled {
  std::string name, parameters;
};
Demangled demangled(const char* mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);
  int depth = 0;  // the parameters begin outside template arguments, in which there may be casts
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '(' && depth == 0) return {name.substr(0, i), name.substr(i)};
    depth += (name[i] == '<') - (name[i] == '>');
  }
  return {name, ""};
}

/// The kernels of a program that nvcc built, as the host compiler sees them; null where nobody named the library.
void* kernel_library() {
  static void* const library = [] {
    const char* const path = std::getenv("SLUICE_EMU_KERNELS");
    void* const loaded = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (path != nullptr && loaded == nullptr) report(Report::kMisuse, std::string("SLUICE_EMU_KERNELS: ") + dlerror());
    return loaded;
  }();
  return library;
}

}  // namespace

void register_kernel(const void* function, Thunk call, Pack pack) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  if (r.by_function.count(function) != 0) return;
  Dl_info info{};
  const bool known = dladdr(function, &info) != 0 && info.dli_sname != nullptr;  // needs -rdynamic
  const std::string mangled = known ? info.dli_sname : "unnamed kernel";
  const auto at =
      r.by_function.emplace(function, Kernel{function, call, pack, demangled(mangled.c_str()).name, mangled}).first;
  r.by_mangled_name[mangled] = &at->second;
}

const Kernel* find_kernel(const void* function) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const auto at = r.by_function.find(function);
  return at == r.by_function.end() ? nullptr : &at->second;
}

bool register_signature(const char* type, Thunk call, Pack pack) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  return r.by_parameters.emplace(demangled(type).parameters, Signature{call, pack}).second;
}

const Kernel* find_kernel_named(const char* mangled) {
  void* const library = kernel_library();  // before the lock: its kernels register their signatures
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  if (const auto at = r.by_mangled_name.find(mangled); at != r.by_mangled_name.end()) return at->second;
  const void* const function = library == nullptr ? nullptr : dlsym(library, mangled);
  const Demangled d = demangled(mangled);
  const auto signature = r.by_parameters.find(d.parameters);
  if (function == nullptr || signature == r.by_parameters.end()) return nullptr;
  const Kernel kernel{function, signature->second.call, signature->second.pack, d.name, mangled};
  const auto at = r.by_function.emplace(function, kernel).first;
  return r.by_mangled_name[mangled] = &at->second;
}

}  // namespace emu
