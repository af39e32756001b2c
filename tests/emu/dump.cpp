// Writes launches to files, so that the compiled PTX can be run on the same inputs elsewhere and compared: for each a
// JSON file with the kernel, the shape and the arguments, and the memory that they point to before and after as .npy.
#include "emu/dump.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace emu {
namespace {

std::string& folder() {
  static auto& path = *new std::string;
  return path;
}

/// Bytes as a one-dimensional array of NumPy's format 1.0.
void write_npy(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + std::to_string(bytes.size()) + ",), }";
  header.append(63 - (10 + header.size()) % 64, ' ');  // so that the data starts at a multiple of 64
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out << "\x93NUMPY\x01" << '\0' << char(header.size() % 256) << char(header.size() / 256) << header;
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  if (!out) throw std::runtime_error("dump: cannot write " + path);
}

std::vector<uint8_t> copy_of(const Allocation& a) {
  const auto* begin = reinterpret_cast<const uint8_t*>(a.begin);
  return {begin, begin + a.bytes};
}

std::string hex(const void* data, size_t bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < bytes; ++i) {
    const uint8_t b = static_cast<const uint8_t*>(data)[i];
    text += {kDigits[b / 16], kDigits[b % 16]};
  }
  return text;
}

}  // namespace

void dump_launches_to(const std::string& path) {
  std::filesystem::create_directories(path);
  folder() = path;
}

LaunchDump::LaunchDump(const Launch& launch) : launch_(launch) {
  if (folder().empty()) return;
  static std::atomic<int> launches{0};
  const std::string number = std::to_string(launches++);
  path_ = folder() + "/" + std::string(6 - std::min<size_t>(6, number.size()), '0') + number;
  for_pointers([&](size_t, size_t, const void*, const Allocation& a) { memory_.emplace(a.begin, a); });
  for (const auto& [begin, a] : memory_) write_npy(name_of(begin, "before"), copy_of(a));
}

LaunchDump::~LaunchDump() {
  if (path_.empty()) return;
  try {
    for (const auto& [begin, a] : memory_) write_npy(name_of(begin, "after"), copy_of(a));
    write_json();
  } catch (const std::exception& e) {
    report(Report::kMisuse, e.what());
  }
}

/// f(argument, byte of the argument, pointer, what it points to) for pointers to device memory, aligned as they are.
template <class F>
void LaunchDump::for_pointers(F&& f) const {
  for (size_t i = 0; i < launch_.args->argv.size(); ++i)
    for (size_t at = 0; at + sizeof(void*) <= launch_.args->bytes[i]; at += sizeof(void*)) {
      void* pointer = nullptr;
      std::memcpy(&pointer, static_cast<const char*>(launch_.args->argv[i]) + at, sizeof pointer);
      if (const Allocation* a = find_memory(pointer)) f(i, at, pointer, *a);
    }
}

int64_t LaunchDump::index_of(uintptr_t begin) const { return std::distance(memory_.begin(), memory_.find(begin)); }

std::string LaunchDump::name_of(uintptr_t begin, const char* when) const {
  return path_ + ".memory" + std::to_string(index_of(begin)) + "." + when + ".npy";
}

/// {kernel, mangled, grid, block, shared_bytes, memory: [bytes], arguments: [{value: hex in memory order, pointers:
/// [{at: byte of the argument, memory: index, offset: bytes}]}]}.
void LaunchDump::write_json() const {
  nlohmann::ordered_json j;
  j["kernel"] = launch_.kernel->name;
  j["mangled"] = launch_.kernel->mangled;
  j["grid"] = {launch_.grid.x, launch_.grid.y, launch_.grid.z};
  j["block"] = {launch_.block.x, launch_.block.y, launch_.block.z};
  j["shared_bytes"] = launch_.shared_bytes;
  for (const auto& entry : memory_) j["memory"].push_back(entry.second.bytes);
  for_pointers([&](size_t argument, size_t at, const void* pointer, const Allocation& a) {
    j["arguments"][argument]["pointers"].push_back(
        {{"at", at}, {"memory", index_of(a.begin)}, {"offset", reinterpret_cast<uintptr_t>(pointer) - a.begin}});
  });
  for (size_t i = 0; i < launch_.args->argv.size(); ++i)
    j["arguments"][i]["value"] = hex(launch_.args->argv[i], launch_.args->bytes[i]);
  std::ofstream out(path_ + ".json");
  out << j.dump(2) << "\n";
  if (!out) throw std::runtime_error("dump: cannot write " + path_ + ".json");
}

}  // namespace emu
