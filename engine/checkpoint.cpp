// Cuts flat arenas into named arrays and back.
#include "engine/checkpoint.h"

#include <cstring>

namespace sluice {
namespace {

constexpr const char* kVersionKey = "sluice.checkpoint";
constexpr const char* kVersion = "1";

/// A flat device array and the names of what lies in it.
struct FlatArray {
  Tensor flat;
  const std::vector<ParamSpec>* specs;
  std::vector<int64_t> offsets;
  std::string suffix;

  std::string key(size_t i) const { return (*specs)[i].path + suffix; }
};

std::vector<FlatArray> flat_arrays(const CheckpointPart& p) {
  std::vector<int64_t> offsets, buffer_offsets;
  for (size_t i = 0; i < p.arena.specs().size(); ++i) offsets.push_back(p.arena.offset(int(i)));
  for (size_t i = 0; i < p.arena.buffer_specs().size(); ++i) buffer_offsets.push_back(p.arena.buffer_offset(int(i)));
  std::vector<FlatArray> all{{p.arena.values(), &p.arena.specs(), offsets, ""},
                             {p.arena.buffers(), &p.arena.buffer_specs(), buffer_offsets, ""}};
  for (size_t k = 0; k < p.states.size(); ++k)
    all.push_back({p.arena.state(p.stream, int(k)), &p.arena.specs(), offsets, str(".", p.states[k])});
  return all;
}

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw DataError(str(where, ": checkpoint of another model: ", what));
}

void expect_array(const TensorFile& file, const std::string& where, const std::string& key, const Shape& shape) {
  const auto it = file.arrays.find(key);
  if (it == file.arrays.end()) fail(where, str("'", key, "' is missing, expected shape ", shape.text()));
  const HostArray& a = it->second;
  if (a.dtype != DType::kF32) fail(where, str("'", key, "' is ", name(a.dtype), ", expected f32"));
  if (!(a.shape == shape)) fail(where, str("'", key, "' has shape ", a.shape.text(), ", expected ", shape.text()));
}

/// Whether `key` is a state, which nobody asked for, of a parameter in `paths`.
bool is_state_of(const std::string& key, const std::set<std::string>& paths) {
  for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', dot + 1))
    if (paths.count(key.substr(0, dot)) > 0) return true;
  return false;
}

void check_all(const TensorFile& file, const std::string& where, const std::vector<CheckpointPart>& parts,
               const std::set<std::string>& elsewhere) {
  const auto version = file.metadata.find(kVersionKey);
  if (version == file.metadata.end() || version->second != kVersion)
    throw DataError(str(where, ": checkpoint version is '",
                        version == file.metadata.end() ? std::string("none") : version->second, "', expected '",
                        kVersion, "'"));
  std::set<std::string> known = elsewhere, without_states = elsewhere;
  for (const CheckpointPart& p : parts) {
    for (const FlatArray& a : flat_arrays(p)) {
      for (size_t i = 0; i < a.specs->size(); ++i) {
        expect_array(file, where, a.key(i), (*a.specs)[i].shape);
        known.insert(a.key(i));
      }
    }
    if (p.states.empty())
      for (const ParamSpec& s : p.arena.specs()) without_states.insert(s.path);
  }
  for (const auto& [key, array] : file.arrays)
    if (known.count(key) == 0 && !is_state_of(key, without_states))
      fail(where, str("'", key, "' is unknown, expected only what the model has"));
}

}  // namespace

TensorFile make_checkpoint(const std::vector<CheckpointPart>& parts) {
  TensorFile file;
  file.metadata.emplace(kVersionKey, kVersion);
  for (const CheckpointPart& p : parts) {
    for (const FlatArray& a : flat_arrays(p)) {
      const std::vector<float> flat = a.flat.to_vector<float>(p.stream);
      for (size_t i = 0; i < a.specs->size(); ++i) {
        const Shape& shape = (*a.specs)[i].shape;
        HostArray array{DType::kF32, shape, std::vector<std::byte>(size_t(shape.numel()) * sizeof(float))};
        std::memcpy(array.bytes.data(), flat.data() + a.offsets[i], array.bytes.size());
        if (!file.arrays.emplace(a.key(i), std::move(array)).second)
          throw Error(str("checkpoint: two arrays are named '", a.key(i), "', expected paths of their own"));
      }
    }
  }
  return file;
}

void load_checkpoint(const TensorFile& file, const std::string& where, const std::vector<CheckpointPart>& parts,
                     const std::set<std::string>& elsewhere) {
  check_all(file, where, parts, elsewhere);
  for (const CheckpointPart& p : parts) {
    for (FlatArray& a : flat_arrays(p)) {
      std::vector<float> flat(size_t(a.flat.numel()), 0.0f);  // the padding between parameters is zero
      for (size_t i = 0; i < a.specs->size(); ++i) {
        const std::vector<std::byte>& bytes = file.arrays.at(a.key(i)).bytes;
        std::memcpy(flat.data() + a.offsets[i], bytes.data(), bytes.size());
      }
      a.flat.assign<float>(p.stream, flat);
    }
    p.arena.bump_version();
  }
}

}  // namespace sluice
