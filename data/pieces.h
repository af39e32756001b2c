// Text as numbered pieces of words and back: byte pair encoding by SentencePiece.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// Immutable; copies share the model. Ids are those of PairTokens: pieces begin at kFirstWord.
class Pieces {
 public:
  /// Learns `size` ids, those of PairTokens included, from sentences: `next` points its argument at the next one, which
  /// lives until the next call, or returns false. The same sentences in the same order give the same pieces. Throws
  /// DataError where the text does not hold so many pieces, or too few for its letters.
  static Pieces train(int64_t size, const std::function<bool(std::string_view&)>& next);
  /// What model() gave. Throws DataError, starting with `where`, for anything else.
  static Pieces from_model(std::string model, const std::string& where);

  /// Bytes to keep: a model file of SentencePiece.
  const std::string& model() const;
  int64_t size() const;
  /// Never kPad, kBegin or kEnd; kUnknown for letters that the training text did not hold.
  std::vector<int32_t> encode(std::string_view text) const;
  /// Marks and padding are left out; unknown pieces become " ⁇ ". Throws DataError for an id out of range.
  std::string decode(std::span<const int32_t> ids) const;

 private:
  struct Impl;
  explicit Pieces(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace sluice
