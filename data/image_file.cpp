// Decoding through libpng and libjpeg. Both report errors by a jump out of the library, so the functions that they
// jump back to own nothing.
#include "data/image_file.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

// In this order: jpeglib.h needs FILE, and says which codes there are before jerror.h numbers them.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "engine/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using FileBytes = std::vector<uint8_t>;

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw DataError(str(path.string(), ": ", what));
}

FileBytes read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || fs::is_directory(path)) fail(path, "no such file, expected a PNG or JPEG image");
  FileBytes bytes(std::istreambuf_iterator<char>(in), {});
  if (in.bad()) fail(path, "cannot be read, expected a PNG or JPEG image");
  return bytes;
}

/// Nothing is allocated on the word of a header alone.
RgbImage blank(const fs::path& path, int64_t height, int64_t width) {
  constexpr int64_t kMost = int64_t(1) << 28;
  if (height < 1 || width < 1 || height > kMost / width)
    fail(path, str("an image of ", width, "x", height, " pixels, expected 1 to ", kMost));
  return {.height = height, .width = width, .pixels = FileBytes(size_t(height * width * 3), 0)};
}

// ---- PNG ----

class Png {
 public:
  explicit Png(const FileBytes& bytes) : at_(bytes.data()), left_(bytes.size()) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw Error("libpng: no memory for a decoder");
    }
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  /// Up to the first pixel, which will be 8-bit RGB. Like read_rows: false on an error, which error() tells.
  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    png_read_info(png_, info_);
    png_set_expand(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }
  int64_t height() const { return png_get_image_height(png_, info_); }
  int64_t width() const { return png_get_image_width(png_, info_); }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  const char* error() const { return error_; }

 private:
  static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<Png*>(png_get_error_ptr(png));
    std::snprintf(self->error_, sizeof(self->error_), "%s", text);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}  // damage to what is no pixel
  static void on_read(png_structp png, png_bytep to, size_t n) {
    auto* self = static_cast<Png*>(png_get_io_ptr(png));
    if (n > self->left_) png_error(png, "the file ends too early");
    std::memcpy(to, self->at_, n);
    self->at_ += n;
    self->left_ -= n;
  }

  const uint8_t* at_;
  size_t left_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  char error_[128] = "";
};

RgbImage read_png(const fs::path& path, const FileBytes& bytes) {
  Png png(bytes);
  const auto damaged = [&] { fail(path, str("damaged PNG (", png.error(), "), expected a complete image")); };
  if (!png.read_header()) damaged();
  RgbImage image = blank(path, png.height(), png.width());
  const auto row = size_t(image.width) * 3;
  if (png.row_bytes() != row) fail(path, str("rows of ", png.row_bytes(), " bytes, expected ", row));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y) rows.push_back(image.pixels.data() + size_t(y) * row);
  if (!png.read_rows(rows.data())) damaged();
  return image;
}

// ---- JPEG ----

class Jpeg {
 public:
  Jpeg() {
    jpeg_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
  }
  ~Jpeg() { jpeg_destroy_decompress(&jpeg_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  /// Up to the first pixel. Like read_rows: false on an error, which error() tells.
  bool read_header(const FileBytes& bytes) {
    if (setjmp(errors_.back) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_mem_src(&jpeg_, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&jpeg_, TRUE);
    const bool four = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    jpeg_.out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg_calc_output_dimensions(&jpeg_);
    return true;
  }
  /// Rows of width * channels bytes.
  bool read_rows(uint8_t* to) {
    if (setjmp(errors_.back) != 0) return false;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = to + size_t(jpeg_.output_scanline) * jpeg_.output_width * size_t(jpeg_.output_components);
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_decompress(&jpeg_);
    return true;
  }
  int64_t height() const { return jpeg_.output_height; }
  int64_t width() const { return jpeg_.output_width; }
  int channels() const { return jpeg_.out_color_components; }
  const char* error() const { return errors_.text; }

 private:
  struct Errors {
    jpeg_error_mgr base;  // first: the library hands back a pointer to it
    std::jmp_buf back;
    char text[JMSG_LENGTH_MAX];
  };
  static void on_error(j_common_ptr jpeg) {
    auto* errors = reinterpret_cast<Errors*>(jpeg->err);
    jpeg->err->format_message(jpeg, errors->text);
    std::longjmp(errors->back, 1);
  }
  /// The library goes on behind damaged data, with made-up pixels; here that is an error. These warnings do no harm.
  static void on_message(j_common_ptr jpeg, int level) {
    const int code = jpeg->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR &&
        code != JWRN_NOT_SEQUENTIAL)
      on_error(jpeg);
  }

  jpeg_decompress_struct jpeg_{};
  Errors errors_{};
};

/// Inverted CMYK to RGB: a channel is what its ink lets through of what black lets through.
FileBytes from_inverted_cmyk(const FileBytes& cmyk) {
  FileBytes rgb;
  rgb.reserve(cmyk.size() / 4 * 3);
  for (size_t i = 0; i < cmyk.size(); i += 4) {
    const int black = cmyk[i + 3];
    for (size_t c = i; c < i + 3; ++c) rgb.push_back(uint8_t(black - ((255 - cmyk[c]) * black * 2 + 255) / 510));
  }
  return rgb;
}

RgbImage read_jpeg(const fs::path& path, const FileBytes& bytes) {
  Jpeg jpeg;
  const auto damaged = [&] { fail(path, str("damaged JPEG (", jpeg.error(), "), expected a complete image")); };
  if (!jpeg.read_header(bytes)) damaged();
  RgbImage image = blank(path, jpeg.height(), jpeg.width());
  image.pixels.resize(size_t(image.height * image.width * jpeg.channels()));
  if (!jpeg.read_rows(image.pixels.data())) damaged();
  if (jpeg.channels() == 4) image.pixels = from_inverted_cmyk(image.pixels);
  return image;
}

}  // namespace

RgbImage read_image(const fs::path& path) {
  const FileBytes bytes = read_bytes(path);
  if (bytes.size() >= 8 && png_sig_cmp(bytes.data(), 0, 8) == 0) return read_png(path, bytes);
  if (bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF) return read_jpeg(path, bytes);
  fail(path, str("neither PNG nor JPEG in its ", bytes.size(), " bytes, expected one of the two"));
}

}  // namespace sluice
