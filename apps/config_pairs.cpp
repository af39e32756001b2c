// The fields of pairs of sentences, and of the networks that translate.
#include "apps/config_parts.h"
#include "models/stages.h"

namespace sluice {

bool has_pairs(const RunConfig& c) { return c.data == "debian-pairs" || c.data == "iwslt" || c.data == "wmt16"; }

bool is_gnmt(const RunConfig& c) { return c.model == "gnmt8" || c.model == "gnmt16"; }

bool is_translator(const RunConfig& c) {
  return is_gnmt(c) || c.model == "transformer_base" || c.model == "transformer_big";
}

int64_t translator_width(const RunConfig& c) { return scaled(c.model == "transformer_base" ? 512 : 1024, c.width); }

std::vector<ConfigField> pair_fields() {
  using C = RunConfig;
  return {
      {"pieces",
       "pairs of sentences: pieces of words that both languages share, learned by byte pair encoding; 0: the words "
       "that "
       "come twice or more, a vocabulary for each language",
       &C::pieces, true},
      {"language_direction", "pairs of sentences: E2G, English to German, or G2E", &C::language_direction, true},
      {"batch_tokens",
       "text: tokens of one step in place of batch, padding included, in samples of like length, and so in evaluation; "
       "0: batch",
       &C::batch_tokens, true},
  };
}

void check_pairs(const RunConfig& c) {
  constexpr int64_t kFewest = 8;  // ids of marks, and some letters
  if (c.pieces != 0) expect_range<int64_t>("pieces", c.pieces, kFewest, 1'000'000);
  if (c.language_direction != "E2G" && c.language_direction != "G2E")
    throw ConfigError(str("language_direction='", c.language_direction, "': expected E2G or G2E"));
  expect_range<int64_t>("batch_tokens", c.batch_tokens, 0, 1 << 24);
  if (has_pairs(c) && c.validation > 0)
    throw ConfigError(
        str("validation=", c.validation, ": data=", c.data, " has sentences of its own to validate with, expected 0"));
  if (is_translator(c) && !has_pairs(c))
    throw ConfigError(str("model=", c.model, " translates, and data=", c.data,
                          " holds no pairs of sentences, expected debian-pairs, iwslt or wmt16"));
  if (is_translator(c) && !is_gnmt(c) &&
      (translator_width(c) % c.n_heads != 0 || translator_width(c) / c.n_heads > 128))
    throw ConfigError(str("width=", c.width, ": ", translator_width(c),
                          " columns do not split into n_heads=", c.n_heads, " heads of at most 128"));
  if (c.batch_tokens == 0) return;
  if (c.batch_tokens % c.micro_batches != 0)
    throw ConfigError(
        str("batch_tokens=", c.batch_tokens, " does not split into micro_batches=", c.micro_batches, " equal parts"));
  if (micro_batch_size(c) < c.max_len + 2)
    throw ConfigError(str("batch_tokens=", c.batch_tokens, ": ", micro_batch_size(c),
                          " tokens of a micro-batch, expected room for one sample of max_len=", c.max_len,
                          " and two marks"));
}

int64_t micro_batch_size(const RunConfig& c) {
  return (c.batch_tokens > 0 ? c.batch_tokens : c.batch) / c.micro_batches;
}

}  // namespace sluice
