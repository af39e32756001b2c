// Two files are read side by side, line by line: the training half is too long to hold as text, too.
#include "data/wmt16.h"

#include <functional>
#include <memory>

#include "data/detokenise.h"
#include "data/lines.h"
#include "data/utf8.h"
#include "data/vocabulary.h"
#include "engine/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kAlignment = 8;  // of the count of ids

/// The vocabulary's lines by id, and back.
struct PieceTable {
  std::vector<std::string> pieces;
  WordNumbers ids;

  int64_t size() const {
    const int64_t used = PairTokens::kFirstWord + int64_t(pieces.size());
    return used + kAlignment - used % kAlignment;
  }
  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> found;
    for (const std::string_view piece : split_words(text)) {
      const auto it = ids.find(piece);
      found.push_back(it == ids.end() ? PairTokens::kUnknown : it->second);
    }
    if (found.empty()) found.push_back(PairTokens::kUnknown);
    return found;
  }
  std::string decode(std::span<const int32_t> of) const {
    std::string text;
    for (const int32_t id : of) {
      if (id < 0 || id >= size()) throw DataError(str("pieces: id ", id, ", expected one in [0, ", size(), ")"));
      if (id != PairTokens::kUnknown && id < PairTokens::kFirstWord) continue;
      const auto at = size_t(id) - size_t(PairTokens::kFirstWord);
      if (!text.empty()) text += ' ';
      text += id != PairTokens::kUnknown && at < pieces.size() ? pieces[at] : "<unk>";
    }
    return join_pieces(text);
  }
};

void expect_utf8(const LineReader& lines) {
  if (find_invalid_utf8(lines.line()) != std::string_view::npos)
    lines.fail("a byte that is no UTF-8, expected a text in UTF-8");
}

/// The first word of each line; a count may stand behind it.
PieceTable read_vocabulary(const fs::path& path) {
  PieceTable table;
  LineReader lines(path);
  while (lines.next()) {
    expect_utf8(lines);
    const std::vector<std::string_view> words = split_words(lines.line());
    if (words.empty()) lines.fail("no piece, expected one a line");
    const auto id = int32_t(PairTokens::kFirstWord + int64_t(table.pieces.size()));
    if (!table.ids.emplace(words[0], id).second) lines.fail(str("the piece '", words[0], "' for the second time"));
    table.pieces.emplace_back(words[0]);
  }
  if (table.pieces.empty()) throw DataError(str(path.string(), ": empty, expected a piece a line"));
  return table;
}

/// f(source line, target line) for all lines of two files.
void read_side_by_side(const fs::path& source, const fs::path& target,
                       const std::function<void(std::string_view, std::string_view)>& f) {
  LineReader from(source), to(target);
  while (from.next()) {
    if (!to.next()) throw DataError(str(target.string(), ": ", to.number(), " lines, fewer than ", source.string()));
    expect_utf8(from);
    expect_utf8(to);
    f(from.line(), to.line());
  }
  if (to.next())
    throw DataError(str(target.string(), ": more than the ", from.number(), " lines of ", source.string()));
}

std::vector<int32_t> marked(std::vector<int32_t> ids) {
  ids.insert(ids.begin(), PairTokens::kBegin);
  ids.push_back(PairTokens::kEnd);
  return ids;
}

class Wmt16Reader {
 public:
  Wmt16Reader(const fs::path& dir, const ParallelOptions& options)
      : dir_(dir),
        options_(options),
        table_(std::make_shared<const PieceTable>(read_vocabulary(dir / "vocab.bpe.32000"))) {}

  ParallelSplit read() {
    const auto table = table_;
    const bool english = options_.to_english;
    TextCoding& target = split_.text.target;
    target.encode = [table](std::string_view text) { return table->encode(text); };
    target.decode = [table, english](std::span<const int32_t> ids) { return detokenised(table->decode(ids), english); };
    target.vocabulary = table->size();
    TextCoding& source = split_.text.source = target;
    source.encode = [table](std::string_view text) { return marked(table->encode(text)); };
    source.decode = [table, english](std::span<const int32_t> ids) {
      return detokenised(table->decode(ids), !english);
    };
    read_training();
    split_.validation = read_all("newstest_dev.tok.clean.bpe.32000", &split_.text.validation);
    split_.test = read_all("newstest2014.tok.bpe.32000", nullptr);
    read_references();
    return std::move(split_);
  }

 private:
  fs::path file(const std::string& name, bool target) const {
    return dir_ / (name + (target == options_.to_english ? ".en" : ".de"));
  }
  ParallelDataset empty_half() const {
    ParallelDataset d;
    d.source_vocabulary = d.target_vocabulary = table_->size();
    d.bucket = options_.bucket;
    d.marked_sources = true;
    return d;
  }
  void read_training() {
    split_.train = empty_half();
    split_.train.token_weights = options_.token_weights;
    const std::string name = "train.tok.clean.bpe.32000";
    read_side_by_side(file(name, false), file(name, true), [&](std::string_view source, std::string_view target) {
      const std::vector<int32_t> from = table_->encode(source), to = table_->encode(target);
      const bool empty = split_words(source).empty() || split_words(target).empty();
      if (empty || int64_t(std::max(from.size(), to.size())) > options_.max_len) {
        ++split_.left_out;
        return;
      }
      split_.train.source.add(marked(from));
      split_.train.target.add(to);
    });
    if (split_.train.size() == 0)
      throw DataError(str(file(name, false).string(), ": no pair of at most ", options_.max_len,
                          " pieces a side, expected some to train on"));
  }
  /// All pairs of a half, and their target sides as text where that is wanted.
  ParallelDataset read_all(const std::string& name, std::vector<std::string>* references) const {
    ParallelDataset d = empty_half();
    read_side_by_side(file(name, false), file(name, true), [&](std::string_view source, std::string_view target) {
      d.source.add(marked(table_->encode(source)));
      d.target.add(table_->encode(target));
      if (references != nullptr) references->push_back(detokenised(join_pieces(target), options_.to_english));
    });
    if (d.size() == 0) throw DataError(str(file(name, false).string(), ": empty, expected pairs of sentences"));
    return d;
  }
  void read_references() {
    const fs::path path = file("newstest2014", true);
    LineReader lines(path);
    while (lines.next()) {
      expect_utf8(lines);
      split_.text.test.emplace_back(lines.line());
    }
    if (int64_t(split_.text.test.size()) != split_.test.size())
      throw DataError(str(path.string(), ": ", split_.text.test.size(), " lines, expected ", split_.test.size(),
                          ", as of newstest2014.tok.bpe.32000"));
  }

  const fs::path dir_;
  const ParallelOptions options_;
  const std::shared_ptr<const PieceTable> table_;
  ParallelSplit split_;
};

}  // namespace

std::string join_pieces(std::string_view text) {
  std::string joined(text);
  for (size_t at = 0; (at = joined.find("@@ ", at)) != std::string::npos;) joined.erase(at, 3);
  if (joined.ends_with("@@")) joined.erase(joined.size() - 2);
  return joined;
}

ParallelSplit load_wmt16(const fs::path& dir, const ParallelOptions& options) {
  if (options.max_len < 1 || options.bucket < 1)
    throw ConfigError(
        str("wmt16: max_len ", options.max_len, ", bucket ", options.bucket, "; expected at least 1 of both"));
  return Wmt16Reader(dir, options).read();
}

}  // namespace sluice
