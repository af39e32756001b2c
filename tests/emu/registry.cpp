// The kernels of the program: how to call each and how to copy its arguments.
#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "emu/grid.h"

namespace emu {
namespace {

struct Registry {
  std::mutex mutex;  // any host thread may be the first to launch a kernel
  std::map<const void*, Kernel> by_function;
  std::map<std::string, const Kernel*> by_mangled_name;
};
Registry& registry() {
  static Registry r;
  return r;
}

std::string demangled(const char* mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);
  int depth = 0;  // the parameters begin outside template arguments, in which there may be casts
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
    depth += (name[i] == '<') - (name[i] == '>');
  }
  return name;
}

}  // namespace

void register_kernel(const void* function, Thunk call, Pack pack) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  if (r.by_function.count(function) != 0) return;
  Dl_info info{};
  const bool known = dladdr(function, &info) != 0 && info.dli_sname != nullptr;  // needs -rdynamic
  const std::string mangled = known ? info.dli_sname : "unnamed kernel";
  const auto at = r.by_function.emplace(function, Kernel{function, call, pack, demangled(mangled.c_str())}).first;
  r.by_mangled_name[mangled] = &at->second;
}

const Kernel* find_kernel(const void* function) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const auto at = r.by_function.find(function);
  return at == r.by_function.end() ? nullptr : &at->second;
}

const Kernel* find_kernel_named(const char* mangled) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const auto at = r.by_mangled_name.find(mangled);
  return at == r.by_mangled_name.end() ? nullptr : at->second;
}

}  // namespace emu
