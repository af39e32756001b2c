// Checkpoints of a training run: arenas of all stages, the configuration and the position, in one file.
#include <charconv>

#include "apps/training.h"
#include "engine/checkpoint.h"

namespace sluice {
namespace {

std::vector<CheckpointPart> parts_of(const std::vector<StagePtr>& stages) {
  std::vector<CheckpointPart> parts;
  for (const StagePtr& s : stages) parts.push_back({s->arena, s->stream, s->optimizer->state_names()});
  return parts;
}

const std::string& metadata(const TensorFile& file, const std::string& key, const std::string& path) {
  const auto it = file.metadata.find(key);
  if (it == file.metadata.end())
    throw DataError(str(path, ": no '", key, "' in its metadata; not a checkpoint of a run"));
  return it->second;
}

}  // namespace

void Training::save(const std::string& path) const {
  TensorFile file = make_checkpoint(parts_of(pipeline_.stages));
  file.metadata["config"] = to_json(config_);
  file.metadata["step"] = std::to_string(step_);
  write_safetensors(path, file);
}

void Training::load(const std::string& path) {
  const TensorFile file = read_safetensors(path);
  RunConfig saved;
  read_config_text(saved, metadata(file, "config", path), path);
  expect_same_numerics(saved, config_, path);
  const std::string& text = metadata(file, "step", path);
  int64_t step = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  if (error != std::errc() || end != text.data() + text.size() || step < 0)
    throw DataError(str(path, ": step '", text, "' in its metadata, expected a whole number"));
  load_checkpoint(file, path, parts_of(pipeline_.stages));
  step_ = step;
  set_modes();
}

}  // namespace sluice
