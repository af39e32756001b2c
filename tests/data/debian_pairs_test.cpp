// Sentence pairs from small pieces of each source, and which of them are kept for what.
#include "data/debian_pairs.h"

#include "data/help_page.h"
#include "data/md5.h"
#include "engine/error.h"
#include "tests/support/support.h"

namespace sluice::debian_pairs_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using Pairs = std::vector<SentencePair>;

TEST(SplitSentences, EndBeforeACapitalLetter) {
  EXPECT_THAT(split_sentences("It runs. It stops! Does it? (Yes.) \"So.\" Fin"),
              ElementsAre("It runs.", "It stops!", "Does it?", "(Yes.)", "\"So.\"", "Fin"));
  EXPECT_THAT(split_sentences("Es läuft. Änderungen  folgen."), ElementsAre("Es läuft.", "Änderungen folgen."));
  EXPECT_THAT(split_sentences("see example.org. lower case goes on."),
              ElementsAre("see example.org. lower case goes on."));
  EXPECT_THAT(split_sentences(""), IsEmpty());
}

TEST(SplitSentences, AbbreviationsAndOrdinalNumbersEndNone) {
  EXPECT_THAT(split_sentences("Formate, z. B. PNG, die 3. Version, bzw. Teile. Ende."),
              ElementsAre("Formate, z. B. PNG, die 3. Version, bzw. Teile.", "Ende."));
  EXPECT_THAT(split_sentences("Formats (e.g. PNG) of Dr. No. Done."),
              ElementsAre("Formats (e.g. PNG) of Dr. No. Done."));
}

TEST(DescriptionPairs, TitlesAndSentencesOfParagraphs) {
  DescriptionPairs pairs;
  pairs.add_english(R"(Package: a
Description-md5: 1
Description-en: play chess
 A board. It has
 64 fields.
 .
 Second paragraph.
 .
 One sentence here.

Package: b
Description-md5: 2
Description-en: only English

Package: c
Description-md5: 3
Description-en: title
 One.
 .
 Two.
)");
  pairs.add_german(R"(Package: a
Description-md5: 1
Description-de: Schach spielen
 Ein Brett. Es hat 64 Felder.
 .
 Zweiter
 Absatz.
 .
 Hier sind es. Zwei Sätze.

Package: c
Description-md5: 3
Description-de: Titel
 Alles in einem.
)");
  EXPECT_EQ(pairs.descriptions(), 2);
  EXPECT_THAT(pairs.sentences(),
              ElementsAre(SentencePair{"play chess", "Schach spielen"}, SentencePair{"A board.", "Ein Brett."},
                          SentencePair{"It has 64 fields.", "Es hat 64 Felder."},
                          SentencePair{"Second paragraph.", "Zweiter Absatz."}, SentencePair{"title", "Titel"}));
}

TEST(DescriptionPairs, RefuseOtherEncodings) {
  DescriptionPairs pairs;
  EXPECT_THROW(pairs.add_english("Description-en: caf\xE9\n"), DataError);
  EXPECT_THROW(pairs.add_german("Description-de: caf\xE9\n"), DataError);
}

TEST(HelpPage, ParagraphsById) {
  EXPECT_THAT(
      help_paragraphs(R"(<!-- <p id="par_id0">no</p> --><div><h1 id="hd_id1" dir="auto">Find Bar</h1>
<p id="par_id2" class="paragraph">The <span class="menuitem">Find</span> bar
 &amp; &lt;more&gt;&nbsp;&#228;&#xDF; &unknown; & so on.<br/>End.</p>
<p id="other3">No.</p><p>No.</p><p id="par_id4"><img alt="x"></p><p id="par_id5">cut)"),
      ElementsAre(Pair("hd_id1", "Find Bar"), Pair("par_id2", "The Find bar & <more> äß &unknown; & so on. End.")));
}

TEST(HelpPage, TheLastOfAlternativesIsTaken) {
  EXPECT_THAT(help_paragraphs(
                  R"(<p id="par_id1">Use <span id="s" class="switchinline"><span hidden="true" class="MAC"><span
class="keycode">Command</span></span><span hidden="true"><span class="keycode">Ctrl</span></span></span> + <span
class="keycode">F</span>.</p>)"),
              ElementsAre(Pair("par_id1", "Use Ctrl + F.")));
}

TEST(HelpPairs, HaveTheSameId) {
  EXPECT_THAT(help_pairs(R"(<p id="par_id1">One.</p><p id="par_id2">Two.</p>)",
                         R"(<p id="par_id3">Drei.</p><p id="par_id2">Zwei.</p>)"),
              ElementsAre(SentencePair{"Two.", "Zwei."}));
}

TEST(DictionaryPairs, FullSentencesOfBothSides) {
  EXPECT_THAT(dictionary_pairs(
                  "# comment. :: comment.\n"
                  "Haus {n} [arch.] | Das ist ein Haus <Bau>. | Wer kommt? :: house | This is a house. | Who comes?\n"
                  "Er kam.; Er ist gekommen. :: He came.; He has come.\n"
                  "Ein Satz. | Noch einer. :: One sentence.\n"
                  "no translation.\n"),
              ElementsAre(SentencePair{"This is a house.", "Das ist ein Haus."},
                          SentencePair{"Who comes?", "Wer kommt?"}, SentencePair{"He came.", "Er kam."}));
}

TEST(PairCollection, KeepsPairsThatFitOnce) {
  const std::string fifty_one = [] {
    std::string words;
    for (int i = 0; i < 51; ++i) words += "w ";
    return words;
  }();
  PairCollection all;
  const Pairs pairs{{"this is kept", "das wird behalten"}, {"This is KEPT", "noch einmal dasselbe"},
                    {"too short", "auch zu kurz"},         {"one two three", "eins zwei drei vier fünf sechs sieben"},
                    {fifty_one, fifty_one + "x"},          {"left as it was", "left as it was"}};
  int64_t kept = 0;
  for (const auto& [part, count] : all.add(pairs)) kept += count;
  EXPECT_EQ(kept, 1);
  EXPECT_THAT(all.part(part_of("this is kept")), ElementsAre(pairs[0]));
  EXPECT_THAT(all.add(pairs), IsEmpty()) << "another source's repeats count, too";
}

// The numbers are Python's int(md5(s.lower()).hexdigest(), 16) % 100.
TEST(PairCollection, TheEnglishSideDecidesThePart) {
  EXPECT_EQ(md5_remainder("this is sentence 37", 100), 0);
  EXPECT_EQ(md5_remainder("this is sentence 24", 100), 1);
  EXPECT_EQ(md5_remainder("this is sentence 199", 100), 2);
  EXPECT_EQ(md5_remainder("this is sentence 6", 100), 3);
  EXPECT_EQ(md5_remainder("this is sentence 40", 100), 4);
  EXPECT_EQ(md5_remainder("this is sentence 3", 100), 99);
  EXPECT_EQ(part_of("This is sentence 37"), PairPart::kTest);
  EXPECT_EQ(part_of("This is sentence 24"), PairPart::kTest);
  EXPECT_EQ(part_of("This is sentence 199"), PairPart::kValidation);
  EXPECT_EQ(part_of("This is sentence 6"), PairPart::kValidation);
  EXPECT_EQ(part_of("This is sentence 40"), PairPart::kTrain);
  EXPECT_EQ(part_of("This is sentence 3"), PairPart::kTrain);
}

}  // namespace
}  // namespace sluice::debian_pairs_test
