// Cleaning, vocabulary, text datasets and their micro-batches.
#include "data/text.h"

#include <algorithm>
#include <set>

#include "data/augment.h"
#include "data/loader.h"
#include "tests/support/support.h"

namespace sluice::text_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Clean, FollowsTheOrderOfTheReference) {
  EXPECT_EQ(clean("The QUICK brown Fox"), "quick brown fox");
  EXPECT_EQ(clean("I don't know what it's worth"), "dont know worth") << "it's becomes its, a stop word; dont is none";
  EXPECT_EQ(clean("one<br /><br />two"), "onetwo") << "a tag is deleted, not replaced";
  EXPECT_EQ(clean("U.S.A. e-mail 3,5"), "usa email 35");
  EXPECT_EQ(clean("second\\team"), "secondteam");
  EXPECT_EQ(clean("<<b>x> < y > z <q"), "x z q") << "the shortest match from the first bracket";
  EXPECT_EQ(clean("a < b\nc > e"), "b c e") << "a dot matches no line feed";
  EXPECT_EQ(clean("<\n<b>x"), "x") << "a bracket without its end does not hide the next one";
  EXPECT_EQ(clean("<>x<a\n>z"), "xa z");
  EXPECT_EQ(clean("... !?"), "");
  EXPECT_EQ(clean(" the\tof\n"), "");
  EXPECT_EQ(clean(""), "");
}

TEST(Clean, KnowsUnicodesCaseAndSpaces) {
  EXPECT_EQ(clean("\xC3\x89T\xC3\x89 \xD0\x96UK \xCE\xA9"), "\xC3\xA9t\xC3\xA9 \xD0\xB6uk \xCF\x89");
  EXPECT_EQ(clean("x\xC2\xA0q\xE3\x80\x80z\xE2\x80\xA8w\x1cv"), "x q z w v") << "spaces of several kinds";
  EXPECT_EQ(clean("\xE2\x80\x9Cquoted\xE2\x80\x9D"), "\xE2\x80\x9Cquoted\xE2\x80\x9D") << "only ASCII punctuation goes";
  EXPECT_EQ(clean("\xC4\xB0stanbul"), "i\xCC\x87stanbul");
}

TEST(Clean, StopWordsAreTheListOf179) {
  const std::span<const std::string_view> list = stop_words();
  EXPECT_EQ(list.size(), 179u);
  EXPECT_EQ(std::set<std::string_view>(list.begin(), list.end()).size(), 179u);
  EXPECT_TRUE(std::is_sorted(list.begin(), list.end()));
  for (const std::string_view word : list) EXPECT_TRUE(is_stop_word(word)) << word;
  for (const char* word :
       {"", "dont", "wont", "would", "could", "us", "also", "z", "The", "themselvesx", "\xC3\xA9", "{"})
    EXPECT_FALSE(is_stop_word(word)) << word;
}

TEST(Vocabulary, RanksByCountThenByFirstOccurrence) {
  WordCounter counter;
  for (const char* word : {"late", "twice", "once", "twice", "late", "last", "three", "three", "three"})
    counter.add(word);
  EXPECT_EQ(counter.distinct(), 5);
  const WordCounter::Ranking all = counter.most_frequent();
  EXPECT_THAT(all.vocabulary.words(), ElementsAre("three", "late", "twice", "once", "last"));
  EXPECT_EQ(all.vocabulary.size(), 7);
  EXPECT_EQ(all.vocabulary.id("three"), 2);
  EXPECT_EQ(all.vocabulary.id("last"), 6);
  EXPECT_EQ(all.vocabulary.id("never"), Vocabulary::kUnknown);
  EXPECT_THAT(all.ids, ElementsAre(3, 4, 5, 6, 2));
}

TEST(Vocabulary, NeverHasMoreIdsThanItsSize) {
  for (const int64_t words : {1, 5, 6, 7, 8, 9, 20}) {
    WordCounter counter;
    for (int64_t i = 0; i < words; ++i) counter.add(std::to_string(i));
    const WordCounter::Ranking r = counter.most_frequent(8);
    EXPECT_EQ(r.vocabulary.size(), std::min<int64_t>(words + 2, 8));
    for (const int32_t id : r.ids) EXPECT_TRUE(id >= Vocabulary::kUnknown && id < r.vocabulary.size());
    EXPECT_EQ(std::count(r.ids.begin(), r.ids.end(), Vocabulary::kUnknown), std::max<int64_t>(words - 6, 0));
  }
  EXPECT_THROW(WordCounter().most_frequent(2), ConfigError);
  EXPECT_THROW(Vocabulary({"a", "b", "a"}), DataError);
}

TextSplit small_split(const TextOptions& options) {
  TextSplitBuilder b({"even", "odd"}, options);
  b.add_train("red green blue green", 0);
  b.add_train("single", 1);
  b.add_train("green yellow", 1);
  b.add_train("the of", 0);
  b.add_test("green purple red blue", 1);
  b.add_test("the of <br />", 0);
  b.add_test("red", 0);
  return b.finish("mine");
}

TEST(TextSplit, TokensAreRanksOfTrainingWords) {
  const TextSplit s = small_split({});
  EXPECT_THAT(s.vocabulary.words(), ElementsAre("green", "red", "blue", "yellow"));
  EXPECT_EQ(s.left_out, 2);
  EXPECT_EQ(s.distinct_words, 4) << "words of documents that are left out do not count";
  ASSERT_EQ(s.train.size(), 2);
  EXPECT_THAT(s.train.document(0), ElementsAre(3, 2, 4, 2));
  EXPECT_THAT(s.train.document(1), ElementsAre(2, 5));
  EXPECT_THAT(s.train.labels, ElementsAre(0, 1));
  ASSERT_EQ(s.test.size(), 3) << "no test document is left out";
  EXPECT_THAT(s.test.document(0), ElementsAre(2, Vocabulary::kUnknown, 3, 4));
  EXPECT_THAT(s.test.document(1), ElementsAre(Vocabulary::kUnknown)) << "an empty document is one unknown word";
  EXPECT_THAT(s.test.document(2), ElementsAre(3));
  EXPECT_NO_THROW(s.train.expect_sound("train"));
  EXPECT_NO_THROW(s.test.expect_sound("test"));
}

TEST(TextSplit, LengthsAndSizesAreOptions) {
  const TextSplit cut = small_split({.max_len = 2});
  EXPECT_THAT(cut.train.document(0), ElementsAre(3, 2));
  EXPECT_THAT(cut.test.document(0), ElementsAre(2, Vocabulary::kUnknown));
  EXPECT_EQ(cut.vocabulary.size(), 6) << "words behind the cut count, too";
  EXPECT_EQ(small_split({.min_len = 0}).left_out, 1);
  const TextSplit few = small_split({.vocabulary = 4});
  EXPECT_EQ(few.vocabulary.size(), 4);
  EXPECT_THAT(few.train.document(0), ElementsAre(3, 2, Vocabulary::kUnknown, 2));
  for (const TextOptions& bad :
       {TextOptions{.max_len = 0}, TextOptions{.min_len = -1}, TextOptions{.vocabulary = 2}, TextOptions{.bucket = 0}})
    EXPECT_THROW(small_split(bad), ConfigError);
}

TEST(TextSplit, EveryClassNeedsATrainingDocument) {
  TextSplitBuilder b({"a", "b", "c"}, {});
  b.add_train("two words", 0);
  b.add_train("short", 1);
  b.add_train("two words", 2);
  b.add_test("x", 0);
  EXPECT_THAT([&] { b.finish("folder/train.csv"); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("folder/train.csv: "), HasSubstr("class 'b'"))));
  TextSplitBuilder no_test({"a"}, {});
  no_test.add_train("two words", 0);
  EXPECT_THAT([&] { no_test.finish("x"); }, ThrowsMessage<DataError>(HasSubstr("no test documents")));
}

/// Document i has 1 + i % 13 tokens, all of them 1 + i, and label i % 3.
std::shared_ptr<TextDataset> numbered(int64_t count) {
  auto d = std::make_shared<TextDataset>();
  for (int64_t i = 0; i < count; ++i) {
    d->tokens.insert(d->tokens.end(), size_t(1 + i % 13), int32_t(1 + i));
    d->offsets.push_back(int64_t(d->tokens.size()));
    d->labels.push_back(int32_t(i % 3));
  }
  d->class_names = {"a", "b", "c"};
  d->vocabulary_size = 1 + count;
  return d;
}

struct TextBatch {
  Shape shape;
  std::vector<int32_t> tokens, labels;
  bool operator==(const TextBatch&) const = default;
};
TextBatch content(Loader& loader, int64_t mb) {
  const Batch b = loader.fetch(mb);
  Stream reader(Device{});
  b.claim(reader);
  return {b.at("tokens").shape(), b.at("tokens").to_vector<int32_t>(reader), b.at("labels").to_vector<int32_t>(reader)};
}

TEST(TextBatches, ArePaddedToTheLongestDocumentInBuckets) {
  const auto d = numbered(26);
  for (const int64_t bucket : {1, 4, 8}) {
    d->bucket = bucket;
    Loader loader(d, {.batch = 5, .training = false});
    for (int64_t mb = 0; mb < loader.per_epoch(); ++mb) {
      const TextBatch b = content(loader, mb);
      const auto rows = b.shape[0], width = b.shape[1];
      EXPECT_EQ(rows, std::min<int64_t>(5, 26 - 5 * mb));
      int64_t longest = 0;
      for (int64_t i = 0; i < rows; ++i) longest = std::max(longest, 1 + (5 * mb + i) % 13);
      EXPECT_EQ(width % bucket, 0);
      EXPECT_TRUE(width >= longest && width < longest + bucket) << width << " for " << longest;
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t sample = 5 * mb + i;
        EXPECT_EQ(b.labels[size_t(i)], sample % 3);
        for (int64_t t = 0; t < width; ++t)
          EXPECT_EQ(b.tokens[size_t(i * width + t)], t < 1 + sample % 13 ? 1 + sample : Vocabulary::kPad);
      }
    }
  }
}

TEST(TextBatches, AnEpochShowsEveryDocumentOnceInAnOrderOfItsSeed) {
  const auto d = numbered(40);
  const auto documents = [&](uint64_t seed, int64_t epoch) {
    Loader loader(d, {.batch = 8, .seed = seed});
    loader.seek(5 * epoch);
    std::vector<int32_t> order;
    for (int64_t mb = 5 * epoch; mb < 5 * epoch + 5; ++mb) {
      const TextBatch b = content(loader, mb);
      for (int64_t i = 0; i < 8; ++i) order.push_back(b.tokens[size_t(i * b.shape[1])] - 1);
    }
    return order;
  };
  EXPECT_EQ(documents(1, 0), epoch_order(40, 1, 0));
  EXPECT_EQ(documents(1, 3), epoch_order(40, 1, 3));
  EXPECT_EQ(documents(2, 0), epoch_order(40, 2, 0));
}

TEST(TextBatches, ResumeWithTheSameContent) {
  Loader whole(numbered(50), {.batch = 7, .seed = 4});
  std::vector<TextBatch> expected;
  for (int64_t mb = 0; mb < 18; ++mb) expected.push_back(content(whole, mb));
  for (const int64_t from : {1, 6, 7, 13}) {
    Loader resumed(numbered(50), {.batch = 7, .seed = 4, .depth = 2});
    resumed.seek(from);
    for (int64_t mb = from; mb < 18; ++mb) EXPECT_EQ(content(resumed, mb), expected[size_t(mb)]) << mb;
  }
}

TEST(TextBatches, APortThatIsNotThereIsNamed) {
  Loader loader(numbered(10), {.batch = 2});
  const Batch b = loader.fetch(0);
  EXPECT_THAT([&] { b.at("images"); }, ThrowsMessage<ConfigError>(HasSubstr("no 'images', only tokens and labels")));
}

TEST(TextDataset, RefusesWhatDoesNotFit) {
  const auto refuses = [](auto change, const char* what) {
    const auto d = numbered(4);
    change(*d);
    EXPECT_THAT([&] { d->expect_sound("mine"); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("mine: "), HasSubstr(what))));
    EXPECT_THROW(Loader(d, {.batch = 1}), DataError);
  };
  refuses([](TextDataset& d) { d = {}; }, "no documents");
  refuses([](TextDataset& d) { d.offsets.pop_back(); }, "4 offsets, expected 5");
  refuses([](TextDataset& d) { d.tokens.pop_back(); }, "to the 9 tokens");
  refuses([](TextDataset& d) { d.offsets[1] = 0; }, "document 0 has no token");
  refuses([](TextDataset& d) { d.labels[2] = 3; }, "label 3 of document 2");
  refuses([](TextDataset& d) { d.labels[2] = -1; }, "label -1 of document 2");
  refuses([](TextDataset& d) { d.tokens[1] = 5; }, "token 5, expected one in [1, 5)");
  refuses([](TextDataset& d) { d.tokens[1] = Vocabulary::kPad; }, "token 0");
  refuses([](TextDataset& d) { d.bucket = 0; }, "bucket of 0");
}

}  // namespace
}  // namespace sluice::text_test
