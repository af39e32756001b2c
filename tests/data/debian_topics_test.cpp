// Topics from a small index: joining, unfolding, splitting by source, dropping repeats.
#include "data/debian_topics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "data/md5.h"
#include "engine/error.h"

namespace sluice::debian_topics_test {
namespace {

using testing::ElementsAre;

std::string hex(std::string_view text) {
  std::string s;
  for (const uint8_t b : md5(text)) {
    s += "0123456789abcdef"[b >> 4];
    s += "0123456789abcdef"[b & 15];
  }
  return s;
}

TEST(Md5, IsThatOfTheStandard) {  // RFC 1321, A.5
  EXPECT_EQ(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(hex("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"), "d174ab98d277d9f5a5611c2c9f419d9f");
  EXPECT_EQ(hex("12345678901234567890123456789012345678901234567890123456789012345678901234567890"),
            "57edf4a22be3c955ac49da2e2107b67a");
  EXPECT_EQ(hex(std::string(55, 'a')), "ef1772b6dff9a122358552954ad0df65") << "the length fits just so";
  EXPECT_EQ(hex(std::string(56, 'a')), "3b0c8ac703f828b04c6c197006d17218") << "and no longer";
  EXPECT_EQ(hex(std::string(64, 'a')), "014842d480b571495a4a0363793f7367");
}

constexpr const char* kPackages = R"(Package: zsnake
Version: 1
Section: games
Description-md5: 1

Package: chess-data
Source: chess (2.0)
Priority: optional
Section: games

Package: chess
Version: 2.0
Section: games

Package: mixer
Section: sound

Package: silent
Section: sound

Package: lost
Section: misc
)";
constexpr const char* kDescriptions = R"(Package: chess
Description-md5: 2
Description-en: play chess
 A board: "64" fields.
 .
 Second paragraph,
  indented.

Package: chess-data
Description-en: data of chess
 Pictures.

Package: mixer
Description-en: mix sounds
 Loud.

Package: silent
Description-en: a title alone

Package: zsnake
Description-en: play chess
 A board: "64" fields.
 .
 Second paragraph,
  indented.

Package: lost
Description-en: of no wanted section
 Text.
)";

DebianIndex small_index() {
  DebianIndex index;
  index.add_packages(kPackages);
  index.add_descriptions(kDescriptions);
  return index;
}

TEST(DebianTopicsIndex, JoinsPackagesWithTheirLongDescriptions) {
  const DebianIndex index = small_index();
  EXPECT_EQ(index.packages(), 6);
  EXPECT_EQ(index.described(), 5) << "a title alone is no description";
  const std::vector<DebianTopic> topics = index.topics({"games", "sound"});
  std::vector<std::string> names;
  for (const DebianTopic& t : topics) names.push_back(t.package);
  EXPECT_THAT(names, ElementsAre("chess", "chess-data", "mixer")) << "zsnake repeats chess";
  EXPECT_EQ(topics[0].title, "play chess");
  EXPECT_EQ(topics[0].content, "A board: \"64\" fields.\n\nSecond paragraph,\n indented.");
  EXPECT_EQ(topics[1].section, "games");
  EXPECT_EQ(index.topics({}).size(), 4u) << "all sections";
}

TEST(DebianTopicsIndex, SourcesDecideTheHalf) {
  // The MD5 sums of "package3" and "package2", as numbers, end in 0 and 9 (Python: int(md5(s).hexdigest(), 16) % 10).
  DebianIndex index;
  index.add_packages(
      "Package: a\nSource: package3 (1)\nSection: x\n\nPackage: package3\nSection: x\n\nPackage: package2\nSection: "
      "x\n");
  index.add_descriptions(
      "Package: a\nDescription-en: a\n A.\n\nPackage: package3\nDescription-en: b\n B.\n\nPackage: package2\n"
      "Description-en: c\n C.\n");
  const std::vector<DebianTopic> topics = index.topics({"x"});
  ASSERT_EQ(topics.size(), 3u);
  for (const DebianTopic& t : topics) EXPECT_EQ(t.test, t.package != "package2") << t.package;
}

TEST(DebianTopicsIndex, TheFirstOfTwoCounts) {
  DebianIndex index = small_index();
  index.add_packages("Package: mixer\nSection: games\n");
  index.add_descriptions("Package: mixer\nDescription-en: other\n Other.\n");
  const std::vector<DebianTopic> topics = index.topics({"sound"});
  ASSERT_EQ(topics.size(), 1u);
  EXPECT_EQ(topics[0].title, "mix sounds");
}

TEST(DebianTopicsIndex, RefusesOtherEncodings) {
  DebianIndex index;
  EXPECT_THROW(index.add_packages("Package: caf\xE9\n"), DataError);
  EXPECT_THROW(index.add_descriptions("Package: caf\xE9\n"), DataError);
}

TEST(DebianTopicsIndex, RowsHaveAgNewsLayout) {
  const std::vector<DebianTopic> topics{{"p", "sound", "a \"b\"", "two\nlines", false}, {"q", "games", "t", "c", true}};
  EXPECT_EQ(debian_topics_csv(topics, {"games", "sound"}, false), "\"2\",\"a \"\"b\"\"\",\"two\nlines\"\n");
  EXPECT_EQ(debian_topics_csv(topics, {"games", "sound"}, true), "\"1\",\"t\",\"c\"\n");
}

TEST(DebianTopicsIndex, TheDefaultSetHasFourteenClasses) {
  const std::vector<std::string>& sections = debian_topic_sections();
  EXPECT_EQ(std::set<std::string>(sections.begin(), sections.end()).size(), 14u);
}

}  // namespace
}  // namespace sluice::debian_topics_test
