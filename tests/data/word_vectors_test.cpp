// Word vectors: which row gets which vector, what the others start with, and how a file can be wrong.
#include "data/word_vectors.h"

#include <zlib.h>

#include <cmath>
#include <cstdlib>

#include "tests/support/support.h"
#include "tests/support/temp_dir.h"

namespace sluice::word_vectors_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

fs::path written(const test::TempDir& dir, const std::string& content) {
  test::write_file(dir / "vectors.txt", std::vector<uint8_t>(content.begin(), content.end()));
  return dir / "vectors.txt";
}
std::vector<float> row(const WordVectors& v, int64_t r) {
  const auto begin = v.values.begin() + r * v.dim;
  return {begin, begin + v.dim};
}

const Vocabulary kWords({"one", "two", "three", "four"});
constexpr const char* kFile = "two 2 -2 0.5\nother 9 9 9\nfour 4 -4 .25\none 1 -1 1e-1\ntwo 7 7 7\n";

TEST(WordVectors, RowsBelongToTheirIds) {
  const test::TempDir dir;
  const WordVectors v = read_word_vectors(written(dir, kFile), kWords);
  EXPECT_EQ(v.dim, 3);
  EXPECT_EQ(v.found, 3);
  ASSERT_EQ(v.values.size(), 18u);
  EXPECT_THAT(row(v, 2), ElementsAre(1, -1, 0.1f));
  EXPECT_THAT(row(v, 3), ElementsAre(2, -2, 0.5f)) << "of a word that comes twice the first counts";
  EXPECT_THAT(row(v, 5), ElementsAre(4, -4, 0.25f));
  EXPECT_THAT(row(v, 0), ElementsAre(0, 0, 0)) << "padding";
  for (const int64_t missing : {1, 4})
    for (const float x : row(v, missing)) EXPECT_NE(x, 0.0f);
}

TEST(WordVectors, FaithfulShiftsRowsByTwo) {
  const test::TempDir dir;
  const WordVectors v = read_word_vectors(written(dir, kFile), kWords, {.faithful = true});
  EXPECT_EQ(v.found, 3);
  EXPECT_THAT(row(v, 0), ElementsAre(1, -1, 0.1f)) << "padding starts as the most frequent word";
  EXPECT_THAT(row(v, 1), ElementsAre(2, -2, 0.5f));
  EXPECT_THAT(row(v, 3), ElementsAre(4, -4, 0.25f));
  for (const int64_t random :
       {2, 4, 5})  // three is missing; the last two words get what was meant for padding, unknown
    for (const float x : row(v, random)) EXPECT_TRUE(x >= 0.0f && x < 1.0f);
}

TEST(WordVectors, MissingWordsStartAsTheFoundOnesAreSpread) {
  std::vector<std::string> words{"found"};
  for (int i = 0; i < 400; ++i) words.push_back("missing" + std::to_string(i));
  const Vocabulary vocabulary(words);
  std::string line = "found";
  for (int i = 0; i < 50; ++i) line += i % 2 == 0 ? " 0.7" : " -0.3";  // mean 0.2, deviation 0.5
  const test::TempDir dir;
  const fs::path path = written(dir, line + "\n");
  const auto moments = [&](const WordVectorOptions& o, int64_t first) {
    const WordVectors v = read_word_vectors(path, vocabulary, o);
    double sum = 0, squares = 0, n = 0;
    for (int64_t r = first; r < vocabulary.size(); ++r)
      for (const float x : row(v, r)) {
        sum += double(x);
        squares += double(x) * double(x);
        n += 1;
      }
    return std::pair(sum / n, std::sqrt(squares / n - sum / n * sum / n));
  };
  const auto [mean, deviation] = moments({}, 3);
  EXPECT_NEAR(mean, 0.0, 5 * 0.5 / std::sqrt(20000.0));
  EXPECT_NEAR(deviation, 0.5, 0.015);
  const auto [old_mean, old_deviation] = moments({.faithful = true}, 1);
  EXPECT_NEAR(old_mean, 0.5, 0.01);
  EXPECT_NEAR(old_deviation, std::sqrt(1.0 / 12), 0.01);
}

TEST(WordVectors, RandomRowsDependOnSeedAndRowAlone) {
  const test::TempDir dir;
  const fs::path path = written(dir, kFile);
  const WordVectors a = read_word_vectors(path, kWords, {.seed = 1});
  EXPECT_EQ(a.values, read_word_vectors(path, kWords, {.seed = 1}).values);
  EXPECT_NE(row(a, 4), row(read_word_vectors(path, kWords, {.seed = 2}), 4));
  EXPECT_NE(row(a, 4), row(a, 1));
}

TEST(WordVectors, ReadsFastTextsHeaderTrailingSpacesAndWordsWithSpaces) {
  const test::TempDir dir;
  const fs::path path = written(dir, "3 2\none 1 2 \r\n. . . 5 6\nat name@domain.com 7 8\nfour 3 4");
  const WordVectors v = read_word_vectors(path, kWords);
  EXPECT_EQ(v.dim, 2);
  EXPECT_EQ(v.found, 2);
  EXPECT_THAT(row(v, 2), ElementsAre(1, 2));
  EXPECT_THAT(row(v, 5), ElementsAre(3, 4));
}

TEST(WordVectors, ReadsGzippedFilesOverManyBuffers) {
  const test::TempDir dir;
  const fs::path path = dir / "vectors.txt.gz";
  gzFile out = gzopen(path.c_str(), "wb");
  std::vector<std::string> words;
  for (int i = 0; i < 60000; ++i) {
    const std::string line = str("word", i, " ", i, " 0.25 -1.5e2 3.14159 2.71828 1.41421\n");
    gzwrite(out, line.data(), unsigned(line.size()));
    if (i % 59 == 0) words.push_back(str("word", i));
  }
  gzclose(out);
  const Vocabulary vocabulary(words);
  const WordVectors v = read_word_vectors(path, vocabulary);
  EXPECT_EQ(v.found, int64_t(words.size()));
  for (size_t i = 0; i < words.size(); ++i)
    EXPECT_THAT(row(v, 2 + int64_t(i)), ElementsAre(float(59 * i), 0.25f, -150, 3.14159f, 2.71828f, 1.41421f));
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_THAT([&] { read_word_vectors(path, vocabulary); }, ThrowsMessage<DataError>(HasSubstr("broken gzip stream")));
}

TEST(WordVectors, RefusesWithFileAndLine) {
  const test::TempDir dir;
  const auto refuses = [&](const std::string& content, const std::string& where, const std::string& what) {
    const fs::path path = written(dir, content);
    EXPECT_THAT(
        [&] { read_word_vectors(path, kWords); },
        ThrowsMessage<DataError>(AllOf(HasSubstr(path.string() + where), HasSubstr(what), Not(HasSubstr("\n")))));
  };
  refuses("one 1 2 3\ntwo 1 2\n", ":2: ", "2 numbers behind a word, expected 3");
  refuses("one 1 2 3\nother 1 2 3\ntwo 1 2 3 4\n", ":3: ", "4 numbers behind a word, expected 3");
  refuses("one 1 2 3\n\n", ":2: ", "0 numbers behind a word, expected 3");
  refuses("one 1 2 3\ntwo 1 x 3\n", ":2: ", "'x' in a word's vector");
  refuses("one 1 2 3\ntwo 1 nan 3\n", ":2: ", "'nan' in a word's vector");
  refuses("one 1 2 3\ntwo 1  3\n", ":2: ", "'' in a word's vector");
  refuses("one\n", ":1: ", "expected a word and the numbers");
  refuses("other 1 2 3\n", ": ", "none of the 4 words of the vocabulary");
  refuses("", ": ", "none of the 4 words");
  EXPECT_THROW(read_word_vectors(dir / "none.txt", kWords), DataError);
  EXPECT_THROW(read_word_vectors(dir.path(), kWords), DataError);
}

// The first lines of GloVe, where they have been fetched: "the" as published.
TEST(WordVectors, TheRealGloveIsReadRowForRow) {
  const char* cache = std::getenv("SLUICE_DATA_DIR");
  const fs::path path = fs::path(cache == nullptr ? "" : cache) / "glove" / "glove.6B.100d.top30k.txt.gz";
  if (!fs::exists(path)) GTEST_SKIP() << "SLUICE_DATA_DIR names no folder with glove/";
  const Vocabulary vocabulary({"of", "the", "nosuchwordatall"});
  const WordVectors v = read_word_vectors(path, vocabulary);
  EXPECT_EQ(v.dim, 100);
  EXPECT_EQ(v.found, 2);
  EXPECT_THAT(std::vector(v.values.begin() + 300, v.values.begin() + 303),
              ElementsAre(-0.038194f, -0.24487f, 0.72812f));
}

}  // namespace
}  // namespace sluice::word_vectors_test
