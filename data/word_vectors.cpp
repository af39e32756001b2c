// Word vectors: lines of other words are only counted over, their numbers not read.
#include "data/word_vectors.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "data/lines.h"
#include "engine/error.h"
#include "engine/rng.h"

namespace sluice {
namespace {

/// A line's word and numbers.
struct VectorLine {
  std::string_view word, numbers;
};

bool read_float(std::string_view s, float& to) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), to);
  return error == std::errc() && end == s.data() + s.size();
}

int64_t count_fields(std::string_view s) { return 1 + std::count(s.begin(), s.end(), ' '); }

/// Where the last `n` fields of a line start, which has more than n.
size_t last_fields(std::string_view s, int64_t n) {
  size_t at = s.size();
  for (int64_t i = 0; i < n; ++i) at = s.rfind(' ', at - 1);
  return at + 1;
}

/// The fields of a line whose vector has `dim` numbers.
VectorLine split(std::string_view s, int64_t dim, const LineReader& at) {
  const int64_t fields = count_fields(s);
  const auto fail = [&] { at.fail(str(fields - 1, " numbers behind a word, expected ", dim)); };
  if (fields <= dim) fail();
  const size_t begin = last_fields(s, dim);
  const std::string_view word = s.substr(0, begin - 1);
  if (fields > dim + 1) {  // a word with spaces in it, unless what is too much is numbers
    float number = 0;
    if (read_float(word.substr(word.rfind(' ') + 1), number)) fail();
  }
  return {word, s.substr(begin)};
}

void read_numbers(std::string_view s, std::span<float> to, const LineReader& at) {
  for (float& value : to) {
    const size_t end = std::min(s.find(' '), s.size());
    if (!read_float(s.substr(0, end), value) || !std::isfinite(value))
      at.fail(str("'", s.substr(0, end), "' in a word's vector, expected a number"));
    s.remove_prefix(std::min(end + 1, s.size()));
  }
}

/// Fills rows that no vector was read for.
class Filler {
 public:
  explicit Filler(const WordVectorOptions& options) : options_(options) {}

  void fill(std::span<float> row, int64_t r, double deviation) const {
    for (size_t i = 0; i < row.size(); ++i) {
      const Philox4 words = philox(key_, uint64_t(i), uint64_t(r));
      row[i] = options_.faithful ? uniform(words.v[0]) : float(deviation * normal(words));
    }
  }

 private:
  /// Box and Muller's transform.
  static double normal(const Philox4& words) {
    const double u = (double(words.v[0]) + 1.0) / 4294967296.0, angle = double(words.v[1]) / 4294967296.0;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * angle);
  }
  WordVectorOptions options_;
  PhiloxKey key_ = Rng{.seed = options_.seed}.key(RngPurpose::kInit, path_hash("word_vectors"));
};

double deviation_of(const WordVectors& v, const std::vector<bool>& has) {
  double sum = 0, squares = 0, n = 0;
  for (size_t r = 0; r < has.size(); ++r) {
    if (!has[r]) continue;
    for (int64_t i = 0; i < v.dim; ++i) {
      const double x = double(v.values[r * size_t(v.dim) + size_t(i)]);
      sum += x;
      squares += x * x;
      n += 1;
    }
  }
  return std::sqrt(std::max(squares / n - sum / n * sum / n, 0.0));
}

}  // namespace

WordVectors read_word_vectors(const std::filesystem::path& path, const Vocabulary& vocabulary,
                              const WordVectorOptions& options) {
  LineReader lines(path);
  WordVectors v;
  std::vector<bool> has(size_t(vocabulary.size()), false);  // by row
  const auto row = [&](int64_t r) { return std::span(v.values).subspan(size_t(r * v.dim), size_t(v.dim)); };
  while (lines.next()) {
    std::string_view text = lines.line();
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    const int64_t fields = count_fields(text);
    if (lines.number() == 1 && fields == 2) continue;  // fastText's header
    if (v.dim == 0) {
      v.dim = fields - 1;
      if (v.dim < 1) lines.fail(str("'", text.substr(0, 40), "', expected a word and the numbers of its vector"));
      v.values.assign(size_t(vocabulary.size() * v.dim), 0.0f);
    }
    const VectorLine line = split(text, v.dim, lines);
    const int32_t id = vocabulary.id(line.word);
    const int64_t r = options.faithful ? id - Vocabulary::kFirstWord : id;
    if (id < Vocabulary::kFirstWord || has[size_t(r)]) continue;
    read_numbers(line.numbers, row(r), lines);
    has[size_t(r)] = true;
    ++v.found;
  }
  if (v.found == 0)
    throw DataError(str(path.string(), ": none of the ", vocabulary.words().size(),
                        " words of the vocabulary, expected vectors of some"));
  const Filler filler(options);
  const double deviation = deviation_of(v, has);
  for (int64_t r = 0; r < vocabulary.size(); ++r) {
    const bool zero = !options.faithful && r == Vocabulary::kPad;
    if (!has[size_t(r)] && !zero) filler.fill(row(r), r, deviation);
  }
  return v;
}

}  // namespace sluice
