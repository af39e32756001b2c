// Moses' tokens put back together.
#include "data/detokenise.h"

#include "tests/support/support.h"

namespace sluice::detokenise_test {
namespace {

TEST(Detokenise, PunctuationJoinsItsSide) {
  EXPECT_EQ(detokenised("Hello , world ! ( really : 5 % ) .", true), "Hello, world! (really: 5%).");
  EXPECT_EQ(detokenised("It costs $ 5 , or € 4 .", true), "It costs $5, or €4.");
  EXPECT_EQ(detokenised("  two   spaces ", false), "two spaces");
  EXPECT_EQ(detokenised("", false), "");
  EXPECT_EQ(detokenised("... ) a", false), "...) a");
  EXPECT_EQ(detokenised("¿ Qué ?", false), "¿Qué?");
}

TEST(Detokenise, EscapesStandForCharacters) {
  EXPECT_EQ(detokenised("R &amp; D &#124; x &lt; y &#91; 1 &#93; &amp;lt;", false), "R & D | x < y [1] &lt;");
  EXPECT_EQ(detokenised("a well @-@ known fact", true), "a well-known fact");
}

TEST(Detokenise, QuotesJoinTheNextWordAndTheOneBeforeInTurn) {
  EXPECT_EQ(detokenised("He said &quot; yes &quot; and &quot; no &quot; .", true), "He said \"yes\" and \"no\".");
  EXPECT_EQ(detokenised("Er sagte „ ja “ .", false), "Er sagte „ja“.");
  EXPECT_EQ(detokenised("&apos; a &apos; &quot; b &quot;", false), "'a' \"b\"") << "each kind by itself";
}

TEST(Detokenise, ContractionsAreEnglish) {
  EXPECT_EQ(detokenised("it &apos;s the dogs &apos; bone , isn &apos;t it ?", true), "it's the dogs' bone, isn't it?");
  EXPECT_EQ(detokenised("it &apos;s", false), "it 's");
  EXPECT_EQ(detokenised(", &apos;s", true), ", 's");
  EXPECT_EQ(detokenised("the dogs &apos; bone", false), "the dogs 'bone");
}

}  // namespace
}  // namespace sluice::detokenise_test
