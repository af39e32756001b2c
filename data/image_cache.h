// Decoded images in one file, so that the next start decodes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "engine/tensor.h"

namespace sluice {

/// What a cache is of: the images' shape and number, and a hash of the files that they came from.
struct CacheKey {
  Shape image;  // [H, W, C]
  int64_t count = 0;
  uint64_t source = 0;
};

/// Pixels [count, H, W, C], or nothing when there is no such file, when it is of other images, cut, or damaged.
std::optional<std::vector<uint8_t>> read_image_cache(const std::filesystem::path& path, const CacheKey& key);

/// The file takes its place when it is whole, so nobody ever reads a part of it. Folders are made. Throws DataError.
void write_image_cache(const std::filesystem::path& path, const CacheKey& key, const std::vector<uint8_t>& pixels);

}  // namespace sluice
