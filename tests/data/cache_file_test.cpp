// Kept bytes come back under their own key, whole, or not at all.
#include "data/cache_file.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace sluice::cache_file_test {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

const std::vector<uint8_t> kBytes{7, 0, 255, 3};

TEST(CacheFile, GivesWhatWasWrittenUnderTheSameKeyOnly) {
  const TempDir dir;
  const fs::path path = dir / "made" / "c";
  EXPECT_FALSE(read_cache(path, "key").has_value());
  ASSERT_TRUE(write_cache(path, "key", kBytes));
  EXPECT_EQ(read_cache(path, "key"), kBytes);
  for (const char* other : {"", "ke", "kez", "key "}) EXPECT_FALSE(read_cache(path, other).has_value()) << other;
  ASSERT_TRUE(write_cache(path, "", {}));
  EXPECT_EQ(read_cache(path, ""), std::vector<uint8_t>());
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "made"), {}), 1) << "no temporary file is left";
}

TEST(CacheFile, AFileThatIsCutLongerOrDamagedIsNone) {
  const TempDir dir;
  ASSERT_TRUE(write_cache(dir / "c", "key", kBytes));
  const std::vector<uint8_t> whole = test::read_file(dir / "c");
  for (size_t length = 0; length <= whole.size() + 1; ++length) {
    std::vector<uint8_t> cut = whole;
    cut.resize(length);
    test::write_file(dir / "c", cut);
    EXPECT_EQ(read_cache(dir / "c", "key").has_value(), length == whole.size()) << length;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    std::vector<uint8_t> changed = whole;
    changed[at] ^= 1;
    test::write_file(dir / "c", changed);
    EXPECT_FALSE(read_cache(dir / "c", "key").has_value()) << at;
  }
}

TEST(CacheFile, SaysWhenItCannotBeWritten) {
  const TempDir dir;
  test::write_file(dir / "file", kBytes);
  EXPECT_FALSE(write_cache(dir / "file" / "c", "key", kBytes));
}

}  // namespace
}  // namespace sluice::cache_file_test
