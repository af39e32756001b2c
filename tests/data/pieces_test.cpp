// Pieces: what is learned is the same each time, comes back as it was, and reads text there and back.
#include "data/pieces.h"

#include "data/parallel.h"
#include "tests/support/support.h"

namespace sluice::pieces_test {
namespace {

using testing::Each;
using testing::Ge;
using testing::HasSubstr;
using testing::ThrowsMessage;

Pieces learned(int64_t size) {
  const std::vector<std::string> sentences{"the house is old", "das Haus ist alt",  "the old man is in the house",
                                           "der alte Mann",    "a house, a garden", "ein Haus, ein Garten"};
  size_t at = 0;
  return Pieces::train(size, [&](std::string_view& sentence) {
    if (at == sentences.size()) return false;
    sentence = sentences[at++];
    return true;
  });
}

TEST(Pieces, ThereAndBack) {
  const Pieces pieces = learned(50);
  EXPECT_EQ(pieces.size(), 50);
  const std::string text = "the garden is old, der Mann ist alt";
  const std::vector<int32_t> ids = pieces.encode(text);
  EXPECT_THAT(ids, Each(Ge(PairTokens::kFirstWord)));
  EXPECT_LT(ids.size(), text.size());
  EXPECT_EQ(pieces.decode(ids), text);
  std::vector<int32_t> marked{PairTokens::kBegin};
  marked.insert(marked.end(), ids.begin(), ids.end());
  marked.insert(marked.end(), {PairTokens::kEnd, PairTokens::kPad});
  EXPECT_EQ(pieces.decode(marked), text);
  EXPECT_EQ(pieces.decode({}), "");
}

TEST(Pieces, TheSameSentencesGiveTheSamePieces) { EXPECT_EQ(learned(50).model(), learned(50).model()); }

TEST(Pieces, AModelComesBack) {
  const Pieces pieces = learned(50), again = Pieces::from_model(pieces.model(), "kept");
  EXPECT_EQ(again.size(), 50);
  EXPECT_EQ(again.encode("das alte Haus"), pieces.encode("das alte Haus"));
}

TEST(Pieces, UnknownLettersAreUnknown) {
  const std::vector<int32_t> ids = learned(50).encode("ß");
  EXPECT_EQ(ids.back(), PairTokens::kUnknown);
}

TEST(Pieces, RefusesWhatCannotBe) {
  EXPECT_THAT([] { learned(5000); }, ThrowsMessage<DataError>(HasSubstr("pieces: 5000 from sentences: ")));
  EXPECT_THAT([] { learned(5); }, ThrowsMessage<DataError>(HasSubstr("pieces: 5 from sentences: ")));
  EXPECT_THAT([] { Pieces::from_model("no model", "file"); }, ThrowsMessage<DataError>(HasSubstr("file: ")));
  EXPECT_THAT([] { learned(50).decode(std::vector<int32_t>{50}); },
              ThrowsMessage<DataError>(HasSubstr("id 50, expected one in [0, 50)")));
}

}  // namespace
}  // namespace sluice::pieces_test
