// Files of named arrays in the safetensors format (https://github.com/huggingface/safetensors, "Format").
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kernels/common/ref.h"

namespace sluice {

/// One array in host memory, row-major, little-endian.
struct HostArray {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;
};

/// What a file holds. Metadata are free text.
struct TensorFile {
  std::map<std::string, std::string> metadata;
  std::map<std::string, HostArray> arrays;
};

/// Reads a whole file and checks all of it: header, dtypes, and that the arrays fill the rest of the file without gap
/// or overlap. Throws DataError: path, what was found, what was expected.
TensorFile read_safetensors(const std::filesystem::path& path);

/// Writes to path.tmp, flushes it to the disk, and puts it in the place of `path` in one step: whenever the process
/// ends, `path` holds the whole old file or the whole new one. A failure removes path.tmp and throws DataError.
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace sluice
