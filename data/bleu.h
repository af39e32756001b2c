// Corpus BLEU (Papineni, Roukos, Ward, Zhu 2002) of one reference a sentence, as NIST's mteval-v13a and, by default,
// sacrebleu count it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// The words of a sentence as mteval-v13a cuts them: `<skipped>` and the hyphen of a broken line are deleted; &quot;
/// &amp; &lt; and &gt; are read; ASCII punctuation stands alone, but a full stop or comma between digits stays, and a
/// hyphen stands alone behind a digit only. The sentence is valid UTF-8.
std::vector<std::string> bleu_words(std::string_view sentence);

/// Case counts; words are cut by bleu_words().
class BleuScore {
 public:
  static constexpr size_t kOrders = 4;  // n-grams of one to four words

  void add(std::string_view hypothesis, std::string_view reference);
  /// 0 to 100: the brevity penalty times the geometric mean of the four precisions.
  double score() const;
  /// exp(1 - reference / hypothesis) for hypotheses that are shorter in sum, else 1.
  double brevity_penalty() const;
  /// In percent: matching n-grams, each counted at most as often as the reference has it, of all in the hypotheses. The
  /// k-th order without any match counts as 1 / 2^k matches (mteval's smoothing), unless no order has a match.
  std::array<double, kOrders> precisions() const;
  int64_t hypothesis_words() const { return hypothesis_words_; }
  int64_t reference_words() const { return reference_words_; }

 private:
  std::array<int64_t, kOrders> matches_{}, total_{};
  int64_t hypothesis_words_ = 0, reference_words_ = 0;
};

}  // namespace sluice
