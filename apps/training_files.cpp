// Checkpoints of a training run: arenas of all stages, the configuration and the position, in one file.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "apps/training.h"
#include "engine/checkpoint.h"
#include "pipeline/gather.h"
#include "pipeline/packing.h"

namespace sluice {
namespace {

CheckpointPart part_of(Stage& s) { return {s.arena, s.stream, s.optimizer->state_names()}; }

/// One instance of every stage that has any here: the one of that number, or the last where there are fewer.
std::vector<CheckpointPart> parts_here(const Pipeline& p, size_t number) {
  std::vector<CheckpointPart> parts;
  for (int i = 0; i < int(p.firsts().size()); ++i)
    if (const std::vector<Stage*> here = p.instances_of(i); !here.empty())
      parts.push_back(part_of(*here[std::min(number, here.size() - 1)]));
  return parts;
}

/// The arrays of all ranks in the leader's file, nothing in those of the others. An array is one message, so that a
/// checkpoint may be larger than any of these may be.
void gather_arrays(Peers& peers, TensorFile& file) {
  std::vector<Mail> own;
  if (peers.rank() != 0) {
    for (const auto& [key, array] : file.arrays) {
      std::vector<int64_t> dims;
      for (int i = 0; i < array.shape.rank(); ++i) dims.push_back(array.shape[i]);
      const std::string head = Packer().add(array.dtype).add(dims).add(uint64_t(key.size())).bytes() + key;
      Mail mail = make_mail(head.size() + array.bytes.size());
      std::memcpy(mail.data.get(), head.data(), head.size());
      std::memcpy(mail.data.get() + head.size(), array.bytes.data(), array.bytes.size());
      own.push_back(std::move(mail));
    }
    file.arrays.clear();
  }
  for (const std::vector<Mail>& of_rank : gather(peers, std::move(own)))
    for (const Mail& mail : of_rank) {
      Unpacker in(mail);
      HostArray array;
      array.dtype = in.take<DType>();
      for (const int64_t d : in.take_all<int64_t>()) array.shape.push_back(d);
      std::string key(in.take<uint64_t>(), ' ');
      for (char& c : key) c = in.take<char>();
      array.bytes = in.rest_bytes();
      file.arrays.emplace(std::move(key), std::move(array));
    }
}

/// Which gradients are added in which order; where stages differ, what they are tells which.
std::string sums_of(const Pipeline& p, const std::string& cuts) {
  const std::string order = order_of_sums(p.plan, p.wiring.instances.stage_of);
  return order.find(';') == std::string::npos ? order : str(order, " of cuts='", cuts, "'");
}

const std::string& metadata(const TensorFile& file, const std::string& key, const std::string& path) {
  const auto it = file.metadata.find(key);
  if (it == file.metadata.end())
    throw DataError(str(path, ": no '", key, "' in its metadata; not a checkpoint of a run"));
  return it->second;
}

}  // namespace

void Training::save(const std::string& path) const {
  std::vector<CheckpointPart> parts;
  for (const StagePtr& s : pipeline_.firsts())
    if (s) parts.push_back(part_of(*s));
  TensorFile file = make_checkpoint(parts);
  if (ranks_.many()) gather_arrays(*ranks_.peers(), file);
  if (!ranks_.leads()) return;
  file.metadata["config"] = to_json(config_);
  file.metadata["sums"] = sums_of(pipeline_, config_.cuts);
  file.metadata["step"] = std::to_string(step_);
  write_safetensors(path, file);
}

void Training::load(const std::string& path) { load(path, true); }

void Training::load(const std::string& path, bool trains_on) {
  const TensorFile file = read_safetensors(path);
  RunConfig saved;
  read_config_text(saved, metadata(file, "config", path), path);
  if (!trains_on) saved.replicas = config_.replicas;
  expect_same_numerics(saved, config_, path);
  const auto sums = file.metadata.find("sums");
  if (trains_on && sums != file.metadata.end() && sums->second != sums_of(pipeline_, config_.cuts))
    throw ConfigError(str(path, ": the saved run, schedule=", saved.schedule, ", adds the gradients of micro-batches ",
                          sums->second, ", this one, schedule=", config_.schedule, ", ",
                          sums_of(pipeline_, config_.cuts),
                          ", which gives other weights; resume with the same schedule or choose another --out"));
  const std::string& text = metadata(file, "step", path);
  int64_t step = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  if (error != std::errc() || end != text.data() + text.size() || step < 0)
    throw DataError(str(path, ": step '", text, "' in its metadata, expected a whole number"));
  size_t instances = 1;
  for (size_t i = 0; i < placement_.size(); ++i) instances = std::max(instances, pipeline_.instances_of(int(i)).size());
  for (size_t k = 0; k < instances; ++k) load_checkpoint(file, path, parts_here(pipeline_, k), elsewhere_);
  step_ = step;
  set_modes();
}

}  // namespace sluice
