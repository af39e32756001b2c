// WMT16's files: ids by the vocabulary's lines, marks, what is left out, whole words again, and files that are wrong.
#include "data/wmt16.h"

#include "data/loader.h"
#include "tests/support/support.h"
#include "tests/support/temp_dir.h"

namespace sluice::wmt16_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

class Wmt16 : public testing::Test {
 protected:
  void SetUp() override {
    write("vocab.bpe.32000", "the\nhou@@\nse\n. 17\nH@@\naus\ndas\nist\nis\n");  // 9 pieces: ids 4 to 12
    write("train.tok.clean.bpe.32000.en", "the hou@@ se .\nthe the the the the\nthe\n\n");
    write("train.tok.clean.bpe.32000.de", "das H@@ aus .\ndas\ndas H@@ und\ndas\n");
    write("newstest_dev.tok.clean.bpe.32000.en", "the the the the the the\n");
    write("newstest_dev.tok.clean.bpe.32000.de", "das H@@ aus\n");
    write("newstest2014.tok.bpe.32000.en", "the hou@@ se is .\nis\n");
    write("newstest2014.tok.bpe.32000.de", "das H@@ aus ist .\nist\n");
    write("newstest2014.de", "Das Haus ist.\nIst?\n");
    write("newstest2014.en", "The house is.\nIs?\n");
  }
  void write(const std::string& name, const std::string& content) const {
    test::write_file(dir_ / name, std::vector<uint8_t>(content.begin(), content.end()));
  }
  ParallelSplit load(const ParallelOptions& options = {.max_len = 4}) const { return load_wmt16(dir_.path(), options); }
  void expect_error(const std::string& message) const {
    EXPECT_THAT([&] { load(); }, ThrowsMessage<DataError>(HasSubstr(message)));
  }
  test::TempDir dir_;
};

TEST_F(Wmt16, IdsAreTheVocabularysLinesBehindTheMarks) {
  const ParallelSplit split = load();
  split.train.expect_sound("train");
  split.validation.expect_sound("validation");
  split.test.expect_sound("test");
  EXPECT_EQ(split.text.source.vocabulary, 16) << "4 marks, 9 pieces and 3 to make a multiple of 8";
  ASSERT_EQ(split.train.size(), 2);
  EXPECT_THAT(split.train.source[0], ElementsAre(2, 4, 5, 6, 7, 3));
  EXPECT_THAT(split.train.target[0], ElementsAre(10, 8, 9, 7));
  EXPECT_THAT(split.train.source[1], ElementsAre(2, 4, 3));
  EXPECT_THAT(split.train.target[1], ElementsAre(10, 8, 1));
  EXPECT_EQ(split.left_out, 2) << "five pieces; an empty side";
  EXPECT_EQ(split.validation.size(), 1) << "whatever the length";
  EXPECT_THAT(split.text.validation, ElementsAre("das Haus"));
  EXPECT_EQ(split.test.size(), 2);
  EXPECT_THAT(split.text.test, ElementsAre("Das Haus ist.", "Ist?"));
}

TEST_F(Wmt16, AVocabularyThatFitsGetsEightIdsMore) {
  write("vocab.bpe.32000", "the\nhou@@\nse\n.\nH@@\naus\ndas\nist\nis\na\nb\nc\n");
  EXPECT_EQ(load().text.target.vocabulary, 24);
}

TEST_F(Wmt16, TheOtherDirection) {
  const ParallelSplit split = load({.to_english = true, .max_len = 4, .token_weights = TokenWeights::kSentences});
  EXPECT_THAT(split.train.source[0], ElementsAre(2, 10, 8, 9, 7, 3));
  EXPECT_THAT(split.text.test, ElementsAre("The house is.", "Is?"));
  EXPECT_EQ(split.train.token_weights, TokenWeights::kSentences);
  EXPECT_EQ(split.test.token_weights, TokenWeights::kMean);
}

TEST_F(Wmt16, TextsAreCodedAsTheFilesAndDecodedToWholeWords) {
  const TranslationText text = load().text;
  EXPECT_THAT(text.source.encode("the hou@@ se"), ElementsAre(2, 4, 5, 6, 3));
  EXPECT_THAT(text.target.encode("  "), ElementsAre(1));
  EXPECT_EQ(text.target.decode(std::vector<int32_t>{2, 10, 8, 9, 7, 1, 8, 3, 0}), "das Haus. <unk> H");
  EXPECT_THROW(text.target.decode(std::vector<int32_t>{16}), DataError);
  EXPECT_EQ(join_pieces("a@@ b@@ c d @@ e@@"), "abc d e");
  EXPECT_EQ(join_pieces("@@"), "");
}

TEST_F(Wmt16, MicroBatchesHaveMarkedSources) {
  Loader loader(std::make_shared<ParallelDataset>(load().train), {.batch = 2, .training = false});
  const Batch b = loader.fetch(0);
  Stream reader(Device{});
  b.claim(reader);
  EXPECT_THAT(b.at("source").to_vector<int32_t>(reader), ElementsAre(2, 4, 5, 6, 7, 3, 0, 0, 2, 4, 3, 0, 0, 0, 0, 0));
  EXPECT_THAT(b.at("target").to_vector<int32_t>(reader), ElementsAre(2, 10, 8, 9, 7, 0, 0, 0, 2, 10, 8, 1, 0, 0, 0, 0));
}

TEST_F(Wmt16, WhatIsWrongWithFilesIsSaidWithTheirPlace) {
  write("newstest2014.de", "Das Haus ist.\n");
  expect_error("newstest2014.de: 1 lines, expected 2");
  write("newstest_dev.tok.clean.bpe.32000.de", "das\ndas\n");
  expect_error("newstest_dev.tok.clean.bpe.32000.de: more than the 1 lines");
  write("train.tok.clean.bpe.32000.de", "das\n");
  expect_error("train.tok.clean.bpe.32000.de: 1 lines, fewer than");
  write("train.tok.clean.bpe.32000.de", "das\nd\xff\ndas\ndas\n");
  expect_error("train.tok.clean.bpe.32000.de:2: a byte that is no UTF-8");
  write("vocab.bpe.32000", "the\nthe\n");
  expect_error("vocab.bpe.32000:2: the piece 'the' for the second time");
  write("vocab.bpe.32000", "the\n\n");
  expect_error("vocab.bpe.32000:2: no piece");
  fs::remove(dir_ / "vocab.bpe.32000");
  expect_error("vocab.bpe.32000");
  EXPECT_THROW(load({.max_len = 0}), ConfigError);
}

TEST_F(Wmt16, PairsThatAreAllTooLongAreNone) {
  EXPECT_THAT([&] { load({.max_len = 1}); }, ThrowsMessage<DataError>(HasSubstr("no pair of at most 1 pieces")));
}

}  // namespace
}  // namespace sluice::wmt16_test
