// BLEU: words and scores that sacrebleu 2.6.0 gives, and its documentation's example.
#include "data/bleu.h"

#include "tests/support/support.h"

namespace sluice::bleu_test {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

BleuScore of(const std::vector<std::pair<const char*, const char*>>& pairs) {
  BleuScore bleu;
  for (const auto& [hypothesis, reference] : pairs) bleu.add(hypothesis, reference);
  return bleu;
}

TEST(BleuWords, AreThoseOfMteval13a) {
  EXPECT_THAT(bleu_words("It costs 1,234.50 dollars."), ElementsAre("It", "costs", "1,234.50", "dollars", "."));
  EXPECT_THAT(bleu_words("well-known 5-year plan, e.g. v2.0."),
              ElementsAre("well-known", "5", "-", "year", "plan", ",", "e", ".", "g", ".", "v2.0", "."));
  EXPECT_THAT(bleu_words("x,y.z 1-2-3"), ElementsAre("x", ",", "y", ".", "z", "1", "-", "2", "-", "3"));
  EXPECT_THAT(bleu_words("...,5 .5. 5."), ElementsAre(".", ".", ".", ",5", ".", "5", ".", "5", "."));
  EXPECT_THAT(bleu_words("don't (stop)! 3/4 [x] {y} ~z"),
              ElementsAre("don't", "(", "stop", ")", "!", "3", "/", "4", "[", "x", "]", "{", "y", "}", "~", "z"));
  EXPECT_THAT(bleu_words("100%:$5;"), ElementsAre("100", "%", ":", "$", "5", ";"));
}

TEST(BleuWords, MarkupBrokenLinesAndOtherLetters) {
  EXPECT_THAT(bleu_words("a &amp;amp; b &lt;i&gt; &quot;c&quot;"),
              ElementsAre("a", "&", "amp", ";", "b", "<", "i", ">", "\"", "c", "\""));
  EXPECT_THAT(bleu_words("bro-\nken <skipped>line\nhere"), ElementsAre("broken", "line", "here"));
  EXPECT_THAT(bleu_words("„Straße“ – Äpfel, 3,5 kg."), ElementsAre("„Straße“", "–", "Äpfel", ",", "3,5", "kg", "."));
  EXPECT_THAT(bleu_words("a\u00a0b\u2009c \n"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(bleu_words(""), ElementsAre());
}

// The hypotheses and references of sacrebleu's README, each set of references on its own.
TEST(Bleu, TheExampleOfSacrebleu) {
  const char *one = "The dog bit the man.", *two = "It wasn't surprising.", *three = "The man had just bitten him.";
  const BleuScore first = of({{one, one}, {two, "It was not unexpected."}, {three, "The man bit him first."}});
  EXPECT_NEAR(first.score(), 45.06750632106114, 1e-10);
  EXPECT_EQ(first.brevity_penalty(), 1.0);
  const BleuScore second =
      of({{one, "The dog had bit the man."}, {two, "No one was surprised."}, {three, "The man had bitten the dog."}});
  EXPECT_NEAR(second.score(), 28.330553664429278, 1e-10);
  EXPECT_NEAR(second.brevity_penalty(), 0.8890097654027757, 1e-12);
  EXPECT_THAT(second.precisions(), ElementsAre(DoubleNear(70.58823529411765, 1e-10), DoubleNear(42.857142857, 1e-8),
                                               DoubleNear(27.272727272727273, 1e-10), 12.5));
  EXPECT_EQ(second.hypothesis_words(), 17);
  EXPECT_EQ(second.reference_words(), 19);
}

TEST(Bleu, OrdersWithoutAMatchAreSmoothed) {
  EXPECT_NEAR(of({{"this is a fest", "this is a test"}}).score(), 59.460355750136046, 1e-10);
  const BleuScore bleu = of({{"a b c d e f", "a c b d f e"}});
  EXPECT_NEAR(bleu.score(), 12.703318703865376, 1e-10);
  EXPECT_THAT(bleu.precisions(), ElementsAre(100.0, 10.0, 6.25, DoubleNear(100.0 / 24, 1e-10)));
}

TEST(Bleu, ShortAndEmptyHypotheses) {
  EXPECT_EQ(BleuScore().score(), 0.0);
  EXPECT_EQ(of({{"test", "a test"}}).score(), 0.0) << "no n-gram of four words, so the score is not defined";
  EXPECT_NEAR(of({{"test", "a test"}}).brevity_penalty(), 0.36787944117144233, 1e-12);
  EXPECT_EQ(of({{"a b", "c d"}}).score(), 0.0);
  EXPECT_EQ(of({{"", "x y"}}).score(), 0.0);
  const BleuScore some = of({{"", "x y"}, {"the cat sat on the mat", "the cat sat on a mat today ."}});
  EXPECT_NEAR(some.score(), 27.585129929794586, 1e-10);
  EXPECT_NEAR(some.brevity_penalty(), 0.513417119032592, 1e-12);
}

TEST(Bleu, IsOneHundredForTheReferenceAndCaseCounts) {
  EXPECT_NEAR(of({{"Das ist ein Haus.", "Das ist ein Haus."}}).score(), 100.0, 1e-10);
  EXPECT_LT(of({{"das ist ein Haus.", "Das ist ein Haus."}}).score(), 100.0);
}

}  // namespace
}  // namespace sluice::bleu_test
