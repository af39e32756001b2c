// Reads idx files, the format of MNIST and Fashion-MNIST, plain or gzipped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace sluice {

/// Unsigned bytes, row-major, outermost dimension first.
struct IdxArray {
  std::vector<int64_t> dims;
  std::vector<uint8_t> bytes;
};

/// Reads `path` or, where that does not exist, `path`.gz. Format: http://yann.lecun.com/exdb/mnist (big-endian: two
/// zero bytes, type, number of dimensions, one u32 a dimension, data). Throws DataError with the path, what was found
/// and what was expected for a missing or truncated file, one that goes on after its data, another magic number than
/// unsigned bytes with `rank` dimensions, or a broken gzip stream.
IdxArray read_idx(const std::filesystem::path& path, int rank);

}  // namespace sluice
