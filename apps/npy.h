// Arrays of doubles in NumPy's file format, version 1.
#pragma once

#include <filesystem>
#include <vector>

namespace sluice {

/// One or two dimensions, row-major.
struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

/// Replaces the file as a whole: whoever reads it sees the old one or the new one. Throws Error where it can't.
void write_npy(const std::filesystem::path& path, const NpyArray& array);
/// f4 or f8, little-endian, C order, up to four dimensions. Throws DataError: path, what was found, what was
/// expected.
NpyArray read_npy(const std::filesystem::path& path);

}  // namespace sluice
