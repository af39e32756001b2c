// Images for tests: patterns, and PNG and JPEG files of every kind, written through the libraries.
#pragma once

#include <jpeglib.h>
#include <png.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "data/image_file.h"
#include "tests/support/temp_dir.h"

namespace sluice::test {

/// Smooth in both directions, other in each channel; `shade` tells images apart.
inline RgbImage gradient(int64_t height, int64_t width, int shade = 0) {
  RgbImage image{.height = height, .width = width, .pixels = {}};
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      image.pixels.push_back(uint8_t(40 + 120 * x / width + shade));
      image.pixels.push_back(uint8_t(200 - 150 * y / height));
      image.pixels.push_back(uint8_t(30 + 60 * (x + y) / (width + height) + shade));
    }
  return image;
}

/// No two neighbours alike.
inline RgbImage noise(int64_t height, int64_t width, uint32_t seed) {
  RgbImage image{.height = height, .width = width, .pixels = {}};
  for (int64_t i = 0; i < height * width * 3; ++i) {
    seed = seed * 1664525u + 1013904223u;
    image.pixels.push_back(uint8_t(seed >> 24));
  }
  return image;
}

/// A PNG as it will lie in the file; `rows` in the file's own pixel format.
struct PngFile {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rows;
  int color_type = PNG_COLOR_TYPE_RGB, bits = 8, interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette{};
  std::vector<png_byte> transparency{};  // of palette entries
};

inline void write_png(const std::filesystem::path& path, const PngFile& p) {
  std::FILE* out = std::fopen(path.c_str(), "wb");
  if (out == nullptr) throw std::runtime_error("write " + path.string());
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, out);
  png_set_IHDR(png, info, png_uint_32(p.width), png_uint_32(p.height), p.bits, p.color_type, p.interlace,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!p.palette.empty()) png_set_PLTE(png, info, p.palette.data(), int(p.palette.size()));
  if (!p.transparency.empty()) png_set_tRNS(png, info, p.transparency.data(), int(p.transparency.size()), nullptr);
  std::vector<uint8_t> bytes = p.rows;
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < p.height; ++y) rows.push_back(bytes.data() + size_t(y) * (bytes.size() / size_t(p.height)));
  png_set_rows(png, info, rows.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  std::fclose(out);
}

inline void write_png(const std::filesystem::path& path, const RgbImage& image) {
  write_png(path, {.height = image.height, .width = image.width, .rows = image.pixels});
}

/// `pixels` of 1, 3 or 4 channels; those of 4 are stored as they are, as CMYK.
inline void write_jpeg(const std::filesystem::path& path, int64_t height, int64_t width,
                       const std::vector<uint8_t>& pixels, bool progressive = false) {
  const auto channels = int(int64_t(pixels.size()) / (height * width));
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_height = JDIMENSION(height);
  jpeg.image_width = JDIMENSION(width);
  jpeg.input_components = channels;
  jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 95, TRUE);
  if (progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<uint8_t> rows = pixels;
  for (int64_t y = 0; y < height; ++y) {
    JSAMPROW row = rows.data() + size_t(y * width * channels);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  write_file(path, {bytes, bytes + size});
  std::free(bytes);
}

inline void write_jpeg(const std::filesystem::path& path, const RgbImage& image, bool progressive = false) {
  write_jpeg(path, image.height, image.width, image.pixels, progressive);
}

}  // namespace sluice::test
