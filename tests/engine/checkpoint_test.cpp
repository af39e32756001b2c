// Checkpoints of arenas: exact round trips over other cuts, and every way in which a file can be another model's.
#include "engine/checkpoint.h"

#include <cstring>

#include "tests/support/support.h"
#include "tests/support/temp_dir.h"

namespace sluice::checkpoint_test {
namespace {

using test::TempDir;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

using CheckpointTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, CheckpointTest, testing::ValuesIn(test::test_devices()), test::device_label);

const std::vector<std::string> kStates{"adam.m", "adam.v"};

void declare(const Init& init) {
  init.scope("conv").param("weight", {3, 5}, InitialValue::uniform(1.0f));
  init.group(1).scope("conv").param("bias", {5}, InitialValue::uniform(1.0f));
  init.scope("norm").buffer("running_mean", {7}, 0.5f);
}

/// An arena whose every number is random, states and buffers included.
struct Net {
  explicit Net(const Stream& s, uint64_t seed, const std::string& scope = "stage0") : arena(s, make(scope), seed) {
    scramble(s, arena.buffers(), seed + 1);
    for (int k = 0; k < 2; ++k) scramble(s, arena.state(s, k), seed + 2 + uint64_t(k));
  }
  static Init make(const std::string& scope) {
    Init init;
    declare(init.scope(scope));
    return init;
  }
  static void scramble(const Stream& s, Tensor t, uint64_t seed) {
    t.assign<float>(s, test::random_values(t.numel(), seed));
  }
  Arena arena;
};

/// Every parameter, state and buffer, padding left out.
std::vector<std::vector<float>> contents(const Stream& s, Arena& arena, int states) {
  std::vector<std::vector<float>> all;
  const auto add = [&](const Tensor& flat, int64_t offset, const Shape& shape) {
    all.push_back(flat.flat_view(offset, shape).to_vector<float>(s));
  };
  for (size_t i = 0; i < arena.specs().size(); ++i) {
    add(arena.values(), arena.offset(int(i)), arena.specs()[i].shape);
    for (int k = 0; k < states; ++k) add(arena.state(s, k), arena.offset(int(i)), arena.specs()[i].shape);
  }
  for (size_t i = 0; i < arena.buffer_specs().size(); ++i)
    add(arena.buffers(), arena.buffer_offset(int(i)), arena.buffer_specs()[i].shape);
  return all;
}

TEST_P(CheckpointTest, RoundTripIsExactAndMakesANewVersion) {
  TempDir dir;
  Stream stream(device());
  Net saved(stream, 1), loaded(stream, 100);
  ASSERT_NE(contents(stream, saved.arena, 2), contents(stream, loaded.arena, 2));
  write_safetensors(dir / "c", make_checkpoint({{saved.arena, stream, kStates}}));
  const uint64_t before = loaded.arena.weights().version;
  load_checkpoint(read_safetensors(dir / "c"), "c", {{loaded.arena, stream, kStates}});
  EXPECT_EQ(contents(stream, saved.arena, 2), contents(stream, loaded.arena, 2));
  EXPECT_NE(loaded.arena.weights().version, before);
}

TEST_P(CheckpointTest, KeysArePathsAndPathsWithStates) {
  Stream stream(device());
  Net net(stream, 1);
  const TensorFile file = make_checkpoint({{net.arena, stream, kStates}});
  std::vector<std::string> keys;
  for (const auto& [key, array] : file.arrays) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"stage0.conv.bias", "stage0.conv.bias.adam.m", "stage0.conv.bias.adam.v",
                                            "stage0.conv.weight", "stage0.conv.weight.adam.m",
                                            "stage0.conv.weight.adam.v", "stage0.norm.running_mean"}));
  EXPECT_EQ(file.arrays.at("stage0.conv.weight").shape, (Shape{3, 5}));
  EXPECT_EQ(file.metadata.at("sluice.checkpoint"), "1");
}

TEST_P(CheckpointTest, HoldsSeveralArenasAndServesAnotherCut) {
  Stream stream(device());
  Net first(stream, 1, "stage0"), second(stream, 2, "stage1");
  const TensorFile file = make_checkpoint({{first.arena, stream, kStates}, {second.arena, stream, kStates}});
  Init both;
  declare(both.scope("stage0"));
  declare(both.scope("stage1"));
  Arena joined(stream, both, 50);
  load_checkpoint(file, "c", {{joined, stream, kStates}});
  const TensorFile again = make_checkpoint({{joined, stream, kStates}});
  ASSERT_EQ(again.arrays.size(), file.arrays.size());
  for (const auto& [key, array] : file.arrays) EXPECT_EQ(again.arrays.at(key).bytes, array.bytes) << key;
}

TEST_P(CheckpointTest, WeightsAloneCanBeTakenFromAFileWithStates) {
  Stream stream(device());
  Net saved(stream, 1), loaded(stream, 100);
  load_checkpoint(make_checkpoint({{saved.arena, stream, kStates}}), "c", {{loaded.arena, stream, {}}});
  EXPECT_EQ(contents(stream, saved.arena, 0), contents(stream, loaded.arena, 0));
  EXPECT_NE(contents(stream, saved.arena, 2), contents(stream, loaded.arena, 2));
}

TEST_P(CheckpointTest, RefusesAnotherModelsFileAndChangesNothing) {
  Stream stream(device());
  Net saved(stream, 1), loaded(stream, 100);
  const TensorFile good = make_checkpoint({{saved.arena, stream, kStates}});
  const auto before = contents(stream, loaded.arena, 2);
  const uint64_t version = loaded.arena.weights().version;
  const auto refuses = [&](const std::function<void(TensorFile&)>& change, const char* what) {
    TensorFile f = good;
    change(f);
    EXPECT_THAT(
        [&] {
          load_checkpoint(f, "run/c.safetensors", {{loaded.arena, stream, kStates}});
        },
        ThrowsMessage<DataError>(AllOf(HasSubstr("run/c.safetensors: "), HasSubstr(what), HasSubstr("expected"))));
  };
  refuses([](TensorFile& f) { f.arrays.erase("stage0.conv.bias"); },
          "checkpoint of another model: 'stage0.conv.bias' is missing");
  refuses([](TensorFile& f) { f.arrays.erase("stage0.conv.weight.adam.v"); }, "'stage0.conv.weight.adam.v' is missing");
  refuses([](TensorFile& f) { f.arrays.erase("stage0.norm.running_mean"); }, "'stage0.norm.running_mean' is missing");
  refuses([](TensorFile& f) { f.arrays["stage9.w"] = f.arrays["stage0.conv.bias"]; }, "'stage9.w' is unknown");
  refuses([](TensorFile& f) { f.arrays["stage0.conv.bias.sgd.momentum"] = f.arrays["stage0.conv.bias"]; },
          "'stage0.conv.bias.sgd.momentum' is unknown");
  refuses(
      [](TensorFile& f) {
        f.arrays["stage0.conv.weight"].shape = {5, 3};
      },
      "'stage0.conv.weight' has shape [5, 3], expected [3, 5]");
  refuses([](TensorFile& f) { f.arrays["stage0.conv.weight"].dtype = DType::kI32; }, "is i32, expected f32");
  refuses([](TensorFile& f) { f.metadata["sluice.checkpoint"] = "2"; }, "version is '2', expected '1'");
  refuses([](TensorFile& f) { f.metadata.clear(); }, "version is 'none', expected '1'");
  EXPECT_EQ(contents(stream, loaded.arena, 2), before);
  EXPECT_EQ(loaded.arena.weights().version, version);
}

TEST_P(CheckpointTest, RefusesTwoArenasWithTheSamePaths) {
  Stream stream(device());
  Net a(stream, 1), b(stream, 2);
  EXPECT_THROW(make_checkpoint({{a.arena, stream, {}}, {b.arena, stream, {}}}), Error);
}

}  // namespace
}  // namespace sluice::checkpoint_test
