// Reads PNG and JPEG files as 8-bit RGB.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace sluice {

struct RgbImage {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
};

/// Which of the two a file is, its first bytes say, not its name. Grey and palette images become RGB, of 16 bits the
/// upper 8 are taken, alpha is dropped; CMYK JPEGs are taken as Adobe writes them, inverted. All of that is what PIL's
/// convert("RGB") gives. Throws DataError, starting with the path, when the file is missing, of another format, cut or
/// damaged, or larger than 2^28 pixels.
RgbImage read_image(const std::filesystem::path& path);

}  // namespace sluice
