// Philox against Random123's known answers; keys and path hashes.
#include "engine/rng.h"

#include <set>

#include "tests/support/support.h"

namespace sluice::rng_test {
namespace {

using testing::ElementsAreArray;

TEST(Philox, KnownAnswers) {  // kat_vectors of Random123: philox4x32, 10 rounds
  EXPECT_THAT(philox({0, 0}, 0, 0).v, ElementsAreArray({0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_THAT(philox({~0u, ~0u}, ~uint64_t{0}, ~uint64_t{0}).v,
              ElementsAreArray({0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_THAT(philox({0xa4093822u, 0x299f31d0u}, 0x85a308d3243f6a88u, 0x0370734413198a2eu).v,
              ElementsAreArray({0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, UniformIsInTheHalfOpenUnitInterval) {
  EXPECT_EQ(uniform(0), 0.0f);
  EXPECT_LT(uniform(~0u), 1.0f);
  EXPECT_GE(uniform(~0u), 1.0f - 1e-6f);
  EXPECT_EQ(uniform(1u << 31), 0.5f);
}

TEST(PathHash, IsFnv1a) {  // the algorithm's published test vectors
  EXPECT_EQ(path_hash(""), 0xcbf29ce484222325u);
  EXPECT_EQ(path_hash("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(path_hash("foobar"), 0x85944171f73967e8u);
}

TEST(RngKey, DiffersInEveryPart) {
  std::set<std::pair<uint32_t, uint32_t>> keys;
  const auto add = [&](PhiloxKey k) { EXPECT_TRUE(keys.emplace(k.a, k.b).second); };
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{7}})
    for (const uint32_t view : {0u, 1u})
      for (const char* path : {"", "a", "b.w"})
        for (const RngPurpose p : {RngPurpose::kInit, RngPurpose::kDropout, RngPurpose::kAugment, RngPurpose::kShuffle})
          add(Rng{.seed = seed, .view = view}.key(p, path_hash(path)));
  EXPECT_EQ(keys.size(), 72u);
}

TEST(RngKey, DoesNotDependOnTheSample) {  // samples are counters: the cut into micro-batches changes nothing
  const PhiloxKey a = Rng{.seed = 3, .sample_base = 0}.key(RngPurpose::kDropout, 9);
  const PhiloxKey b = Rng{.seed = 3, .sample_base = 512}.key(RngPurpose::kDropout, 9);
  EXPECT_EQ(a.a, b.a);
  EXPECT_EQ(a.b, b.b);
}

}  // namespace
}  // namespace sluice::rng_test
