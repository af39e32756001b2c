// Reads numeric arrays of MATLAB's version 5 files, the format of SVHN.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sluice {

/// How an array's values are stored; MATLAB stores whole doubles as the smallest integers that hold them.
enum class MatType : uint8_t { kI8 = 1, kU8 = 2, kI16 = 3, kU16 = 4, kI32 = 5, kU32 = 6, kF32 = 7, kF64 = 9 };

/// Column-major: the first dimension runs fastest.
struct MatArray {
  std::vector<int64_t> dims;
  MatType type = MatType::kU8;
  std::vector<uint8_t> bytes;  // little-endian values of that type

  int64_t size() const;
  double value(int64_t i) const;
};

/// The arrays of these names in that order, compressed or not. Format: "MAT-File Format", The MathWorks: a header of
/// 128 bytes, then elements {u32 type, u32 bytes, data, padding to 8}, a matrix being an element of elements. Throws
/// DataError with the path, what was found and what was expected for a file that is missing, of another version,
/// big-endian, cut or damaged, and for an array that is missing, complex, or no array of numbers.
std::vector<MatArray> read_mat(const std::filesystem::path& path, const std::vector<std::string>& names);

}  // namespace sluice
