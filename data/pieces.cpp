// The only place that knows SentencePiece.
#include "data/pieces.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "data/parallel.h"
#include "engine/error.h"

namespace sluice {
namespace {

namespace sp = sentencepiece;

void expect_ok(const sp::util::Status& status, const std::string& where, const char* expected) {
  if (!status.ok()) throw DataError(str(where, ": ", status.message(), ", expected ", expected));
}

/// The sentences as the trainer asks for them.
class SentenceFeed : public sp::SentenceIterator {
 public:
  explicit SentenceFeed(const std::function<bool(std::string_view&)>& next) : next_(next) { Next(); }
  bool done() const override { return done_; }
  void Next() override {
    std::string_view sentence;
    done_ = !next_(sentence);
    value_ = sentence;
  }
  const std::string& value() const override { return value_; }
  sp::util::Status status() const override { return {}; }

 private:
  const std::function<bool(std::string_view&)>& next_;
  std::string value_;
  bool done_ = false;
};

}  // namespace

struct Pieces::Impl {
  std::string model;
  sp::SentencePieceProcessor processor;
};

Pieces Pieces::train(int64_t size, const std::function<bool(std::string_view&)>& next) {
  SentenceFeed feed(next);
  std::string model;
  const auto status = sp::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                       {"vocab_size", std::to_string(size)},
                                                       {"character_coverage", "1.0"},
                                                       {"pad_id", std::to_string(PairTokens::kPad)},
                                                       {"unk_id", std::to_string(PairTokens::kUnknown)},
                                                       {"bos_id", std::to_string(PairTokens::kBegin)},
                                                       {"eos_id", std::to_string(PairTokens::kEnd)},
                                                       {"num_threads", "1"},
                                                       {"minloglevel", "3"}},
                                                      &feed, &model);
  const std::string where = str("pieces: ", size, " from sentences");
  expect_ok(status, where, "a number of pieces that the text holds");
  return from_model(std::move(model), where);
}

Pieces Pieces::from_model(std::string model, const std::string& where) {
  auto impl = std::make_shared<Impl>();
  expect_ok(impl->processor.LoadFromSerializedProto(model), where, "a model of SentencePiece");
  const sp::SentencePieceProcessor& p = impl->processor;
  if (p.pad_id() != PairTokens::kPad || p.unk_id() != PairTokens::kUnknown || p.bos_id() != PairTokens::kBegin ||
      p.eos_id() != PairTokens::kEnd)
    throw DataError(str(where, ": padding, unknown, begin and end are ", p.pad_id(), ", ", p.unk_id(), ", ", p.bos_id(),
                        " and ", p.eos_id(), ", expected 0, 1, 2 and 3"));
  impl->model = std::move(model);
  return Pieces(std::move(impl));
}

const std::string& Pieces::model() const { return impl_->model; }

int64_t Pieces::size() const { return impl_->processor.GetPieceSize(); }

std::vector<int32_t> Pieces::encode(std::string_view text) const {
  std::vector<int> ids;
  expect_ok(impl_->processor.Encode(text, &ids), "pieces", "a text in UTF-8");
  return ids;
}

std::string Pieces::decode(std::span<const int32_t> ids) const {
  std::vector<int> kept;
  for (const int32_t id : ids) {
    if (id < 0 || id >= size()) throw DataError(str("pieces: id ", id, ", expected one in [0, ", size(), ")"));
    if (id == PairTokens::kUnknown || id >= PairTokens::kFirstWord) kept.push_back(id);
  }
  std::string text;
  expect_ok(impl_->processor.Decode(kept, &text), "pieces", "ids of pieces");
  return text;
}

}  // namespace sluice
