// The host keeps the sequences; each step the decoder gives the next token's log probabilities of all of them.
#include "pipeline/beam_search.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/error.h"
#include "pipeline/inference.h"

namespace sluice {
namespace {

constexpr int64_t kBucket = 8;  // lengths are rounded up to it: few different shapes

int64_t rounded_up(int64_t n) { return (n + kBucket - 1) / kBucket * kBucket; }

bool has_port(const std::vector<Port>& ports, const char* name) {
  return std::any_of(ports.begin(), ports.end(), [&](const Port& p) { return p.name == name; });
}

/// Tokens behind the begin mark, and the sum of their log probabilities.
struct Hypothesis {
  std::vector<int32_t> tokens;
  double score = 0;
  std::vector<double> covered{};  // the attention that each source token got; only where it counts
};

/// What the network says of the next token of each row: log probabilities [rows, words] and, where it counts, the
/// attention that the row pays to its source's tokens [rows, source].
struct Prediction {
  std::vector<float> log_p, attention;
};

/// Rows of ids, padded with 0 on the right.
struct Padded {
  std::vector<int32_t> ids;
  Shape shape;
};
Padded padded(const std::vector<std::vector<int32_t>>& rows) {
  int64_t longest = 1;
  for (const auto& r : rows) longest = std::max(longest, int64_t(r.size()));
  const int64_t cols = rounded_up(longest);
  Padded p{std::vector<int32_t>(rows.size() * size_t(cols), 0), {int64_t(rows.size()), cols}};
  for (size_t i = 0; i < rows.size(); ++i) std::copy(rows[i].begin(), rows[i].end(), p.ids.begin() + int64_t(i) * cols);
  return p;
}

/// The network as a search sees it: sources in, then log probabilities of what comes next.
class Translator {
 public:
  Translator(Stages stages, bool attends) : stages_(stages), attends_(attends) {
    while (decoder_ < stages.size() && has_port(stages[decoder_]->body->out_ports(), "target")) ++decoder_;
    if (decoder_ == 0 || decoder_ == stages.size())
      throw ConfigError("beam search: no stage takes 'target' and decodes it, expected an encoder-decoder network");
  }

  void encode(const std::vector<std::vector<int32_t>>& sources, int32_t begin) {
    const Stage& first = *stages_[0];
    const std::vector<std::vector<int32_t>> marks(sources.size(), {begin});
    Bundle x;
    for (const Port& p : inference_ports(*first.body)) {
      if (p.name == "labels") continue;
      const Padded ids = padded(p.name == "target" ? marks : sources);
      x.push_back({Tensor::from<int32_t>(first.stream, ids.ids, ids.shape)});
    }
    x = through(0, decoder_, std::move(x), first.stream);
    encoded_ = handed_on(*stages_[decoder_ - 1]->body, *stages_[decoder_]->body, x);
  }

  /// Of the token behind each of `rows`, all of one length; row i belongs to source of[i].
  Prediction next(const std::vector<std::vector<int32_t>>& rows, const std::vector<int32_t>& of) {
    Stage& before = *stages_[decoder_ - 1];
    Ctx encoder = inference_ctx(before);
    const Tensor index = Tensor::from<int32_t>(before.stream, of, {int64_t(of.size())});
    const Padded prefix = padded(rows);
    const std::vector<Port> ports = stages_[decoder_]->body->in_ports();
    Bundle x;
    for (size_t i = 0; i < encoded_.size(); ++i)
      x.push_back({ports[i].name == "target" ? Tensor::from<int32_t>(before.stream, prefix.ids, prefix.shape)
                                             : select_rows(encoder, encoded_[i].value, index, ports[i].batch_axis)});
    Prediction result;
    if (attends_) attention_.emplace();
    x = through(decoder_, stages_.size(), std::move(x), before.stream);
    if (attends_) result.attention = newest_attention(int64_t(rows[0].size()) - 1);
    Stage& last = *stages_.back();
    Ctx c = inference_ctx(last);
    std::vector<int32_t> newest;
    for (size_t i = 0; i < rows.size(); ++i)
      newest.push_back(int32_t(int64_t(i) * prefix.shape[1] + int64_t(rows[i].size()) - 1));
    const Tensor which = Tensor::from<int32_t>(last.stream, newest, {int64_t(newest.size())});
    const Var logits = last.body->head(c, {{select_rows(c, x[0].value, which, 0)}});
    result.log_p = log_softmax(c, logits).value.to_vector<float>(last.stream);
    return result;
  }

 private:
  /// x, of what stage `begin` takes and on stream `from`, through stages [begin, end).
  Bundle through(size_t begin, size_t end, Bundle x, Stream from) {
    for (size_t i = begin; i < end; ++i) {
      Stage& s = *stages_[i];
      if (i > begin) x = handed_on(*stages_[i - 1]->body, *s.body, x);
      for (Var& v : x) v = {moved(v.value, from, s.stream)};
      Ctx c = inference_ctx(s);
      std::vector<Tensor> weights;
      if (attention_) c.attention = &weights;
      x = s.body->infer(c, x);
      for (Tensor& w : weights) attention_->push_back({std::move(w), s.stream});
      from = s.stream;
    }
    return x;
  }
  /// Of the queries at `position`.
  std::vector<float> newest_attention(int64_t position) {
    const std::vector<Attention> all = std::exchange(attention_, std::nullopt).value();
    if (all.size() != 1)
      throw ConfigError(str("beam search: a coverage penalty with ", all.size(),
                            " additive attentions in the network, expected one, as gnmt8 has"));
    return all[0].weights.rows(position, 1).to_vector<float>(all[0].stream);
  }

  struct Attention {
    Tensor weights;  // [queries, rows, source]
    Stream stream;
  };

  const Stages stages_;
  const bool attends_;                               // whether attention is asked for
  size_t decoder_ = 0;                               // the first stage that does not hand the target on
  Bundle encoded_;                                   // what that stage takes
  std::optional<std::vector<Attention>> attention_;  // while the decoder runs
};

/// The sequences of one source; the live ones best first.
struct Beam {
  std::vector<Hypothesis> live{{}}, ended{};

  /// What grows only becomes less likely.
  bool done(size_t width) const {
    return ended.size() >= width && std::any_of(ended.begin(), ended.end(), [&](const Hypothesis& h) {
             return live.empty() || live[0].score <= h.score;
           });
  }
};

class BeamSearch {
 public:
  BeamSearch(const SearchOptions& options, size_t sources) : options_(options), beams_(sources) {}

  /// Whether some sequence is to grow; then `rows` are all those, and `of` their sources.
  bool open(std::vector<std::vector<int32_t>>& rows, std::vector<int32_t>& of) const {
    rows.clear();
    of.clear();
    for (size_t i = 0; i < beams_.size(); ++i) {
      if (beams_[i].done(size_t(options_.beam))) continue;
      for (const Hypothesis& h : beams_[i].live) {
        rows.push_back({options_.begin});
        rows.back().insert(rows.back().end(), h.tokens.begin(), h.tokens.end());
        of.push_back(int32_t(i));
      }
    }
    return !rows.empty() && int64_t(rows[0].size()) <= options_.max_len;
  }

  /// Takes what the network says of the rows that open() gave.
  void grow(const Prediction& next, const std::vector<int32_t>& of) {
    const size_t words = next.log_p.size() / of.size(), source_tokens = next.attention.size() / of.size();
    for (size_t row = 0; row < of.size();) {
      Beam& beam = beams_[size_t(of[row])];
      for (size_t h = 0; source_tokens > 0 && h < beam.live.size(); ++h)
        cover(beam.live[h], next.attention.data() + (row + h) * source_tokens, source_tokens);
      grow(beam, next.log_p.data() + row * words, words);
      const int32_t source = of[row];
      while (row < of.size() && of[row] == source) ++row;
    }
  }

  std::vector<int32_t> best(size_t source) const {
    const Beam& beam = beams_[source];
    const std::vector<Hypothesis>& from = beam.ended.empty() ? beam.live : beam.ended;
    const auto worse = [&](const Hypothesis& a, const Hypothesis& b) { return normalised(a) < normalised(b); };
    return std::max_element(from.begin(), from.end(), worse)->tokens;
  }

 private:
  struct Candidate {
    double score;
    size_t from;  // of the live ones
    int32_t token;
  };
  static bool better(const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.from != b.from ? a.from < b.from : a.token < b.token;
  }
  static void cover(Hypothesis& h, const float* attention, size_t source_tokens) {
    h.covered.resize(source_tokens, 0.0);
    for (size_t k = 0; k < source_tokens; ++k) h.covered[k] += double(attention[k]);
  }
  double normalised(const Hypothesis& h) const {
    double coverage = 0;
    for (const double c : h.covered)
      if (c > 0) coverage += std::log(std::min(1.0, c));
    return h.score / std::pow((5.0 + double(h.tokens.size() + 1)) / 6.0, double(options_.length_penalty)) +
           double(options_.coverage_penalty) * coverage;
  }

  /// The `count` best continuations of all live sequences, best first.
  std::vector<Candidate> candidates(const Beam& beam, const float* log_p, size_t words, size_t count) const {
    std::vector<Candidate> kept;
    for (size_t h = 0; h < beam.live.size(); ++h)
      for (size_t w = 1; w < words; ++w) {  // padding is no token
        const Candidate c{beam.live[h].score + double(log_p[h * words + w]), h, int32_t(w)};
        if (c.token == options_.begin || (kept.size() == count && !better(c, kept.back()))) continue;
        if (kept.size() == count) kept.pop_back();
        kept.insert(std::upper_bound(kept.begin(), kept.end(), c, better), c);
      }
    return kept;
  }

  void grow(Beam& beam, const float* log_p, size_t words) {
    const auto width = size_t(options_.beam);
    std::vector<Hypothesis> live;
    for (const Candidate& c : candidates(beam, log_p, words, 2 * width)) {
      Hypothesis next{beam.live[c.from].tokens, c.score, beam.live[c.from].covered};
      if (c.token == options_.end) {
        beam.ended.push_back(std::move(next));
      } else {
        next.tokens.push_back(c.token);
        live.push_back(std::move(next));
      }
      if (live.size() == width) break;  // what follows is less likely
    }
    beam.live = std::move(live);
    if (beam.live.empty() && beam.ended.empty()) beam.ended.push_back({});  // no token to choose from
  }

  SearchOptions options_;
  std::vector<Beam> beams_;
};

}  // namespace

std::vector<std::vector<int32_t>> beam_search(Stages stages, const std::vector<std::vector<int32_t>>& sources,
                                              const SearchOptions& options) {
  if (options.beam < 1 || options.max_len < 1)
    throw ConfigError(
        str("beam search: beam ", options.beam, " and max_len ", options.max_len, ", expected at least 1"));
  if (!(options.coverage_penalty >= 0.0f))
    throw ConfigError(str("beam search: a coverage penalty of ", options.coverage_penalty, ", expected at least 0"));
  for (const auto& s : sources)
    if (s.empty()) throw ConfigError("beam search: a source without tokens, expected at least one");
  std::vector<std::vector<int32_t>> results, rows;
  if (sources.empty()) return results;
  Translator network(stages, options.coverage_penalty != 0);
  network.encode(sources, options.begin);
  BeamSearch search(options, sources.size());
  for (std::vector<int32_t> of; search.open(rows, of);) search.grow(network.next(rows, of), of);
  for (size_t i = 0; i < sources.size(); ++i) results.push_back(search.best(i));
  return results;
}

}  // namespace sluice
