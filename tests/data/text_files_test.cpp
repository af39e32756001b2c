// Readers of text data sets: layouts, labels, the cache, and one clear line for every way in which a file can be wrong.
#include "data/text_files.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>

#include "data/loader.h"
#include "data/text_cache.h"
#include "tests/support/support.h"
#include "tests/support/temp_dir.h"

namespace sluice::text_files_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  test::write_file(path, std::vector<uint8_t>(content.begin(), content.end()));
}

/// The words of a document.
std::vector<std::string> words_of(const TextSplit& s, const TextDataset& d, int64_t i) {
  std::vector<std::string> words;
  for (const int32_t id : d.document(i))
    words.push_back(id == Vocabulary::kUnknown ? "?" : s.vocabulary.words()[size_t(id - Vocabulary::kFirstWord)]);
  return words;
}

template <class F>
void expect_data_error(F&& f, const std::string& where, const std::string& what) {
  EXPECT_THAT(f, ThrowsMessage<DataError>(
                     AllOf(HasSubstr(where), HasSubstr(what), HasSubstr("expected"), Not(HasSubstr("\n")))));
}

constexpr const char* kNews = R"("1","Treaty signed","A treaty\between ""old"" foes"
"2","Final won","Team wins cup"
"3","Shares fall","Market drops"
"4","New chip","Faster chip <b>announced</b>"
)";

class NewsTest : public testing::Test {
 protected:
  void SetUp() override {
    write(dir_ / "train.csv", kNews);
    write(dir_ / "test.csv", "\"4\",\"Chip\",\"market\"\n\"1\",\"The\",\"and of\"\n");
  }
  TextSplit load(const TextOptions& o = {}) const { return load_ag_news(dir_.path(), o); }
  test::TempDir dir_;
};

TEST_F(NewsTest, AgNewsIsTitleAndDescription) {
  const TextSplit s = load();
  EXPECT_THAT(s.train.class_names, ElementsAre("World", "Sports", "Business", "Sci/Tech"));
  EXPECT_THAT(s.train.labels, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(words_of(s, s.train, 0), ElementsAre("treaty", "signed", "treaty", "old", "foes"))
      << "between is a stop word";
  EXPECT_THAT(words_of(s, s.train, 3), ElementsAre("new", "chip", "faster", "chip", "announced"));
  EXPECT_THAT(s.test.labels, ElementsAre(3, 0));
  EXPECT_THAT(words_of(s, s.test, 0), ElementsAre("chip", "market"));
  EXPECT_THAT(words_of(s, s.test, 1), ElementsAre("?"));
  const TextSplit faithful = load({.faithful = true});
  EXPECT_THAT(words_of(faithful, faithful.train, 0), ElementsAre("treaty", "signed", "treatybetween", "old", "foes"));
}

TEST_F(NewsTest, TheArchivesFolderServesToo) {
  const TextSplit direct = load();
  fs::create_directory(dir_ / "ag_news_csv");
  for (const char* file : {"train.csv", "test.csv"}) fs::rename(dir_ / file, dir_ / "ag_news_csv" / file);
  EXPECT_EQ(load().train.tokens, direct.train.tokens);
}

TEST_F(NewsTest, RefusesWhatIsNotTheLayout) {
  expect_data_error([&] { load_ag_news(dir_ / "nowhere"); }, (dir_ / "nowhere").string(), "no such folder");
  write(dir_ / "train.csv", std::string(kNews) + "\"5\",\"x y\",\"z\"\n");
  expect_data_error([&] { load(); }, "train.csv:5: ", "class '5', expected a number from 1 to 4");
  write(dir_ / "train.csv", std::string(kNews) + "\"one\",\"x y\",\"z\"\n");
  expect_data_error([&] { load(); }, "train.csv:5: ", "class 'one'");
  write(dir_ / "train.csv", std::string(kNews) + "\"1\",\"x y\"\n");
  expect_data_error([&] { load(); }, "train.csv:5: ", "2 fields, expected 3");
  write(dir_ / "train.csv", "\"1\",\"a b\",\"c\"\n\"2\",\"a b\",\"c\"\n\"4\",\"a b\",\"c\"\n");
  expect_data_error([&] { load(); }, "train.csv: ", "no training document of class 'Business'");
  write(dir_ / "train.csv", kNews);
  write(dir_ / "test.csv", "");
  expect_data_error([&] { load(); }, "train.csv: ", "no test documents");
  fs::remove(dir_ / "test.csv");
  expect_data_error([&] { load(); }, "test.csv", "no such file");
}

TEST(DBpedia, IsContentAlone) {
  const test::TempDir dir;
  std::string train;
  for (int c = 1; c <= 14; ++c) train += str("\"", c, "\",\"Title", c, "\",\"content number", c, "\"\n");
  write(dir / "dbpedia_csv/train.csv", train);
  write(dir / "dbpedia_csv/test.csv", "14,Title3,number3\n");
  const TextSplit s = load_dbpedia(dir.path());
  EXPECT_EQ(s.train.classes(), 14);
  EXPECT_EQ(s.train.class_names[13], "WrittenWork");
  EXPECT_THAT(words_of(s, s.train, 4), ElementsAre("content", "number5"));
  EXPECT_THAT(s.test.labels, ElementsAre(13));
  EXPECT_THAT(words_of(s, s.test, 0), ElementsAre("number3"));
}

TEST(DebianTopics, BringTheirClassesAlong) {
  const test::TempDir dir;
  write(dir / "train.csv", "\"1\",\"chess game\",\"board\"\n\"2\",\"mixer\",\"audio \\ tool\"\n");
  write(dir / "test.csv", "\"2\",\"audio\",\"board\"\n");
  expect_data_error([&] { load_debian_topics(dir.path()); }, "classes.txt", "no class names");
  write(dir / "classes.txt", "games\nsound\n");
  const TextSplit s = load_debian_topics(dir.path());
  EXPECT_THAT(s.train.class_names, ElementsAre("games", "sound"));
  EXPECT_THAT(words_of(s, s.train, 1), ElementsAre("mixer", "audio", "tool"));
}

std::string reviews(int count) {
  std::string csv = "review,sentiment\n";
  for (int i = 0; i < count; ++i)
    csv += str("\"film number", i, i % 2 == 0 ? ", good\",positive\n" : " was bad\",negative\n");
  return csv;
}

TEST(Imdb, IsSplitFourToOneBySeed) {
  const test::TempDir dir;
  write(dir / "IMDB Dataset.csv", reviews(50));
  const auto numbers = [&](const TextSplit& s) {
    std::vector<std::string> all;
    for (int64_t i = 0; i < s.train.size(); ++i) all.push_back(words_of(s, s.train, i)[1]);
    return all;
  };
  const TextSplit s = load_imdb_csv(dir.path(), {.seed = 7});
  EXPECT_THAT(s.train.class_names, ElementsAre("positive", "negative"));
  EXPECT_EQ(s.train.size(), 40);
  EXPECT_EQ(s.test.size(), 10);
  for (int64_t i = 0; i < s.train.size(); ++i)
    EXPECT_EQ(words_of(s, s.train, i)[2], s.train.labels[size_t(i)] == 0 ? "good" : "bad");
  for (int64_t i = 0; i < s.test.size(); ++i)
    EXPECT_EQ(words_of(s, s.test, i)[1], "?") << "a word of a test document alone has no id";
  EXPECT_EQ(numbers(s), numbers(load_imdb_csv(dir / "IMDB Dataset.csv", {.seed = 7})))
      << "the file instead of its folder";
  EXPECT_NE(numbers(s), numbers(load_imdb_csv(dir.path(), {.seed = 8})));
}

TEST(Imdb, RefusesOtherColumnsAndClasses) {
  const test::TempDir dir;
  expect_data_error([&] { load_imdb_csv(dir.path()); }, "IMDB_Dataset.csv", "no such file");
  write(dir / "IMDB_Dataset.csv", "review,sentiment\nfine film,neutral\n");
  expect_data_error([&] { load_imdb_csv(dir.path()); },
                    "IMDB_Dataset.csv:2: ", "class 'neutral', expected one of negative, positive");
  write(dir / "IMDB_Dataset.csv", "text,sentiment\nfine film,positive\n");
  expect_data_error([&] { load_imdb_csv(dir.path()); }, "IMDB_Dataset.csv:1: ", "no column 'review'");
}

TEST(AclImdb, IsReadFromItsFolders) {
  const test::TempDir dir;
  for (const std::string part : {"train", "test"})
    for (const std::string side : {"pos", "neg"})
      for (int i = 0; i < 3; ++i)
        write(dir.path() / "aclImdb" / part / side / str(i, "_", side == "pos" ? 9 : 2, ".txt"),
              str("review ", side, " number", i));
  const TextSplit s = load_aclimdb(dir.path());
  EXPECT_THAT(s.train.labels, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(s.test.labels, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(words_of(s, s.train, 4), ElementsAre("review", "neg", "number1"));
  write(dir.path() / "aclImdb/train/neg/3_1.txt", "line one\nbad \xC3( byte");
  expect_data_error([&] { load_aclimdb(dir.path()); }, "3_1.txt:2: ", "no UTF-8");
  fs::remove_all(dir / "aclImdb/test/neg");
  expect_data_error([&] { load_aclimdb(dir.path()); }, "test/neg", "no such folder");
  fs::create_directory(dir / "aclImdb/test/neg");
  expect_data_error([&] { load_aclimdb(dir.path()); }, "test/neg", "no .txt file");
}

TEST(CsvTable, ColumnsGoByNameOrNumber) {
  const test::TempDir dir;
  write(dir / "train.csv", "id,kind,head,body\n1,zebra,big animal,striped\n2,ant,tiny animal,\"six, legs\"\n");
  write(dir / "test.csv", "kind,body,head\nant,legs,animal\n");
  const TextSplit s =
      load_csv({.train = dir / "train.csv", .test = dir / "test.csv", .label = "kind", .text = {"head", "body"}});
  EXPECT_THAT(s.train.class_names, ElementsAre("ant", "zebra"));
  EXPECT_THAT(s.train.labels, ElementsAre(1, 0));
  EXPECT_THAT(words_of(s, s.train, 1), ElementsAre("tiny", "animal", "six", "legs"));
  EXPECT_THAT(words_of(s, s.test, 0), ElementsAre("animal", "legs")) << "each file by its own header";

  write(dir / "bare.csv", "zebra,big animal\nant,tiny animal\n");
  const CsvTable bare{
      .train = dir / "bare.csv", .test = dir / "bare.csv", .label = "1", .text = {"2"}, .header = false};
  EXPECT_THAT(load_csv(bare).train.labels, ElementsAre(1, 0));
  expect_data_error([&] { load_csv({.train = dir / "bare.csv", .test = {}, .label = "3", .header = false}); },
                    "bare.csv:1: ", "no column '3', expected it among 1, 2");
  write(dir / "other.csv", "cat,big animal\n");
  CsvTable other = bare;
  other.test = dir / "other.csv";
  expect_data_error([&] { load_csv(other); }, "other.csv:1: ", "class 'cat', expected one of ant, zebra");
}

class TextCacheTest : public NewsTest {
 protected:
  TextOptions cached(TextOptions o = {}) const {
    o.cache = dir_ / "cache";
    return o;
  }
  fs::path file() const {
    for (const auto& entry : fs::directory_iterator(dir_ / "cache")) return entry.path();
    return {};
  }
  static void expect_same(const TextSplit& a, const TextSplit& b) {
    EXPECT_EQ(a.vocabulary.words(), b.vocabulary.words());
    EXPECT_EQ(a.distinct_words, b.distinct_words);
    EXPECT_EQ(a.left_out, b.left_out);
    for (const auto half : {&TextSplit::train, &TextSplit::test}) {
      EXPECT_EQ((a.*half).tokens, (b.*half).tokens);
      EXPECT_EQ((a.*half).offsets, (b.*half).offsets);
      EXPECT_EQ((a.*half).labels, (b.*half).labels);
      EXPECT_EQ((a.*half).class_names, (b.*half).class_names);
      EXPECT_EQ((a.*half).bucket, (b.*half).bucket);
      EXPECT_EQ((a.*half).vocabulary_size, (b.*half).vocabulary_size);
    }
  }
};

TEST_F(TextCacheTest, TheSecondOpeningReadsNoText) {
  const TextSplit first = load(cached());
  EXPECT_FALSE(first.from_cache);
  // Other bytes, but the same size and time: whoever reads them fails.
  const auto time = fs::last_write_time(dir_ / "train.csv");
  write(dir_ / "train.csv", std::string(fs::file_size(dir_ / "train.csv"), '\xFF'));
  fs::last_write_time(dir_ / "train.csv", time);
  const TextSplit second = load(cached());
  EXPECT_TRUE(second.from_cache);
  expect_same(first, second);
  EXPECT_THROW(load(), DataError) << "without a cache the file is read";
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "cache"), {}), 1) << "no temporary file is left";
}

TEST_F(TextCacheTest, OtherSourcesOrOptionsAreNoHit) {
  load(cached());
  EXPECT_TRUE(load(cached()).from_cache);
  EXPECT_TRUE(load(cached({.bucket = 1})).from_cache) << "the bucket is chosen when batches are made";
  EXPECT_EQ(load(cached({.bucket = 1})).train.bucket, 1);
  for (const TextOptions& o : {TextOptions{.max_len = 3}, TextOptions{.min_len = 0}, TextOptions{.vocabulary = 5},
                               TextOptions{.seed = 1}, TextOptions{.faithful = true}}) {
    EXPECT_FALSE(load(cached(o)).from_cache);
    EXPECT_TRUE(load(cached(o)).from_cache);
  }
  fs::last_write_time(dir_ / "train.csv", fs::last_write_time(dir_ / "train.csv") + std::chrono::seconds(1));
  EXPECT_FALSE(load(cached()).from_cache) << "another time";
  EXPECT_TRUE(load(cached()).from_cache);
  write(dir_ / "test.csv", "\"4\",\"Chip\",\"market and more\"\n");
  EXPECT_FALSE(load(cached()).from_cache) << "another size";
}

TEST_F(TextCacheTest, ADamagedFileIsMadeAgain) {
  const TextSplit whole = load(cached());
  const std::vector<uint8_t> bytes = test::read_file(file());
  for (const size_t at : {size_t(0), size_t(9), size_t(17), size_t(40), bytes.size() - 1}) {
    std::vector<uint8_t> changed = bytes;
    changed[at] ^= 0x10;
    test::write_file(file(), changed);
    const TextSplit again = load(cached());
    EXPECT_FALSE(again.from_cache) << at;
    expect_same(whole, again);
  }
  for (const size_t length : {size_t(0), size_t(5), size_t(24), bytes.size() - 1}) {
    fs::resize_file(file(), length);
    EXPECT_FALSE(load(cached()).from_cache) << length;
    EXPECT_TRUE(load(cached()).from_cache) << length;
  }
}

TEST_F(TextCacheTest, AFolderThatCannotBeWrittenCostsOnlyTheSpeed) {
  write(dir_ / "file", "x");
  TextOptions o;
  o.cache = dir_ / "file" / "cache";
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(load(o).from_cache);
}

TEST_F(TextCacheTest, TheSameFileReadAnotherWayIsNoHit) {
  write(dir_ / "t.csv", "a,b,c\nx,one two,three four\ny,five six,seven eight\n");
  const auto load_column = [&](const std::string& column) {
    return load_csv({.train = dir_ / "t.csv", .test = dir_ / "t.csv", .label = "a", .text = {column}}, cached());
  };
  EXPECT_FALSE(load_column("b").from_cache);
  const TextSplit c = load_column("c");
  EXPECT_FALSE(c.from_cache);
  EXPECT_THAT(words_of(c, c.train, 0), ElementsAre("three", "four"));
  EXPECT_TRUE(load_column("b").from_cache);
}

// 3,000 real sentences, where they have been fetched: what a plain script counted in them.
TEST(Imdb, TheSentencesOfThreeSitesHoldWhatTheyShould) {
  const char* cache = std::getenv("SLUICE_DATA_DIR");
  const fs::path path = fs::path(cache == nullptr ? "" : cache) / "sentiment" / "sentiment_sentences.csv";
  if (!fs::exists(path)) GTEST_SKIP() << "SLUICE_DATA_DIR names no folder with sentiment/";
  const TextSplit s = load_imdb_csv(path, {.min_len = 0});
  EXPECT_EQ(s.train.size() + s.left_out, 2400);
  EXPECT_EQ(s.test.size(), 600);
  const auto negative = std::accumulate(s.train.labels.begin(), s.train.labels.end(), 0);
  EXPECT_NEAR(double(negative) / double(s.train.size()), 0.5, 0.05);
}

}  // namespace
}  // namespace sluice::text_files_test
