// Pairs of sentences from files: directions, pieces and words, the cache, and files that are wrong.
#include "data/translation_files.h"

#include <algorithm>

#include "data/loader.h"
#include "tests/support/support.h"
#include "tests/support/temp_dir.h"

namespace sluice::translation_files_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& content) {
  test::write_file(path, std::vector<uint8_t>(content.begin(), content.end()));
}

constexpr const char* kTrain =
    "the house is old .\ndas Haus ist alt .\nthe man is old .\nder Mann ist alt .\n"
    "the garden is in the house .\nder Garten ist in dem Haus .\n";

/// Three training pairs, one to validate and two to test, English lines first.
class Translation : public testing::Test {
 protected:
  void SetUp() override {
    write(file("train"), kTrain);
    write(file("val"), "the man\nder Mann\n");
    write(file("test"), "the house\ndas Haus\nan old unicorn\nein altes Einhorn\n");
  }
  fs::path file(const char* half, const char* sides = "en_de") const {
    return dir_ / (std::string(sides) + "_some_" + half + "_cache.csv");
  }
  ParallelSplit load(const ParallelOptions& options) const { return load_translation(dir_.path(), "some", options); }
  void expect_error(const std::string& message, const ParallelOptions& options = {.pieces = 0}) const {
    EXPECT_THAT([&] { load(options); }, ThrowsMessage<DataError>(HasSubstr(message)));
  }
  test::TempDir dir_;
};

TEST_F(Translation, WordsThatComeTwiceOnASide) {
  const ParallelSplit split = load({.pieces = 0});
  split.train.expect_sound("train");
  split.validation.expect_sound("validation");
  split.test.expect_sound("test");
  EXPECT_EQ(split.train.size(), 3);
  EXPECT_EQ(split.text.source.vocabulary, 4 + 5) << "the is . house old";
  EXPECT_EQ(split.text.target.vocabulary, 4 + 5) << "ist . Haus alt der";
  EXPECT_EQ(split.text.source.decode(split.train.source[0]), "the house is old .");
  EXPECT_EQ(split.text.target.decode(split.test.target[0]), "<unk> Haus");
  EXPECT_THAT(split.test.source[1], ElementsAre(1, split.text.source.encode("old")[0], 1));
  EXPECT_THAT(split.text.source.encode(""), ElementsAre(PairTokens::kUnknown));
  EXPECT_THAT(split.text.test, ElementsAre("das Haus", "ein altes Einhorn"));
  EXPECT_THAT(split.text.validation, ElementsAre("der Mann"));
  EXPECT_THROW(split.text.target.decode(std::vector<int32_t>{9}), DataError);
}

TEST_F(Translation, EitherDirectionFromFilesOfEitherOrder) {
  const ParallelSplit split = load({.to_english = true, .pieces = 0});
  EXPECT_EQ(split.text.source.decode(split.train.source[0]), "<unk> Haus ist alt .");
  EXPECT_EQ(split.text.target.decode(split.train.target[0]), "the house is old .");
  EXPECT_THAT(split.text.test, ElementsAre("the house", "an old unicorn"));
  write(file("train", "de_en"), "der Hund\nthe dog\nder Hund\nthe dog\n");
  write(file("val", "de_en"), "der Hund\nthe dog\n");
  write(file("test", "de_en"), "der Hund\nthe dog\n");
  EXPECT_THAT(load({.to_english = true, .pieces = 0}).text.test, ElementsAre("the dog")) << "its own order goes first";
  fs::remove(file("train"));
  EXPECT_THAT(load({.pieces = 0}).text.test, ElementsAre("der Hund"));
}

TEST_F(Translation, PiecesOfBothSidesAreKept) {
  const ParallelOptions options{.pieces = 60, .cache = dir_ / "cache"};
  const ParallelSplit first = load(options), again = load(options);
  EXPECT_FALSE(first.from_cache);
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(first.text.source.vocabulary, 60);
  EXPECT_EQ(first.text.target.vocabulary, 60);
  EXPECT_EQ(first.train.target.tokens, again.train.target.tokens);
  EXPECT_EQ(again.text.target.decode(again.train.target[1]), "der Mann ist alt .");
  const ParallelSplit back = load({.to_english = true, .pieces = 60, .cache = dir_ / "cache"});
  EXPECT_TRUE(back.from_cache) << "both directions share them";
  EXPECT_EQ(back.train.source.tokens, first.train.target.tokens);
  EXPECT_FALSE(load({.pieces = 59, .cache = dir_ / "cache"}).from_cache);
  write(file("train"), std::string(kTrain) + "more\nmehr\n");
  EXPECT_FALSE(load(options).from_cache);
  write(dir_ / "no_folder", "");
  EXPECT_EQ(load({.pieces = 60, .cache = dir_ / "no_folder"}).train.size(), 4) << "costs only the time";
}

TEST_F(Translation, LongTrainingPairsAreLeftOut) {
  const ParallelSplit split = load({.pieces = 0, .max_len = 5});
  EXPECT_EQ(split.train.size(), 2);
  EXPECT_EQ(split.left_out, 1);
  EXPECT_EQ(split.text.source.vocabulary, 4 + 4) << "the is old . of two pairs";
  write(file("train"), std::string(kTrain) + "\nleer\n");
  EXPECT_EQ(load({.pieces = 0}).left_out, 1) << "a side is empty";
  write(file("test"), "one two three four five six seven\neins\n");
  EXPECT_EQ(load({.pieces = 0, .max_len = 5}).test.size(), 1) << "others are kept";
  expect_error("en_de_some_train_cache.csv: no pair of at most 1 tokens", {.pieces = 0, .max_len = 1});
}

TEST_F(Translation, FeedsALoader) {
  auto train = std::make_shared<const ParallelDataset>(load({.pieces = 0, .bucket = 1}).train);
  Loader loader(train, {.tokens = 16});
  EXPECT_EQ(loader.per_epoch(), 2) << "two sentences of 7 with their marks, one of 9";
}

TEST_F(Translation, WhatIsWrongIsSaidInOneLine) {
  write(file("test"), "one\n");
  expect_error("en_de_some_test_cache.csv:1: a sentence without the other language's");
  write(file("test"), "");
  expect_error("en_de_some_test_cache.csv: empty, expected pairs of sentences");
  write(file("test"), "caf\xE9\nx\n");
  expect_error("en_de_some_test_cache.csv:1: a byte that is no UTF-8");
  fs::remove(file("test"));
  expect_error("en_de_some_test_cache.csv: no such file");
  fs::remove(file("train"));
  expect_error("neither en_de_some_train_cache.csv nor de_en_some_train_cache.csv");
  EXPECT_THROW(load({.pieces = -1}), ConfigError);
  EXPECT_THROW(load({.max_len = 0}), ConfigError);
}

}  // namespace
}  // namespace sluice::translation_files_test
