// SVHN (Netzer et al. 2011): column-major planes to interleaved channels; the label 10 is the digit 0.
#include "data/dataset.h"
#include "data/mat.h"

namespace sluice {
namespace {

constexpr int64_t kSvhnSide = 32, kSvhnChannels = 3;

std::string dims_text(const MatArray& a) {
  std::string text;
  for (const int64_t d : a.dims) text += str(text.empty() ? "" : "x", d);
  return text;
}

/// X [32, 32, 3, N]; MATLAB drops a last dimension of 1.
int64_t image_count(const MatArray& x, const std::filesystem::path& path) {
  std::vector<int64_t> dims = x.dims;
  if (dims.size() == 3) dims.push_back(1);
  if (dims.size() != 4 || dims[0] != kSvhnSide || dims[1] != kSvhnSide || dims[2] != kSvhnChannels ||
      x.type != MatType::kU8)
    throw DataError(str(path.string(), ": X is ", dims_text(x), " of ", x.bytes.size(),
                        " bytes, expected 32x32x3xN unsigned bytes"));
  return dims[3];
}

ImageDataset read_svhn(const std::filesystem::path& path) {
  const std::vector<MatArray> arrays = read_mat(path, {"X", "y"});
  const MatArray &x = arrays[0], &y = arrays[1];
  const int64_t count = image_count(x, path);
  if (y.size() != count)
    throw DataError(str(path.string(), ": y is ", dims_text(y), ", expected a label for each of ", count, " images"));
  ImageDataset d;
  d.image = {kSvhnSide, kSvhnSide, kSvhnChannels};
  d.pixels.resize(x.bytes.size());
  uint8_t* to = d.pixels.data();
  for (int64_t n = 0; n < count; ++n)
    for (int64_t row = 0; row < kSvhnSide; ++row)
      for (int64_t column = 0; column < kSvhnSide; ++column)
        for (int64_t c = 0; c < kSvhnChannels; ++c)
          *to++ = x.bytes[size_t(row + kSvhnSide * (column + kSvhnSide * (c + kSvhnChannels * n)))];
  for (int64_t n = 0; n < count; ++n) {
    const double label = y.value(n);
    if (!(label >= 1 && label <= 10) || label != double(int32_t(label)))
      throw DataError(str(path.string(), ": label ", label, " of image ", n, ", expected a whole number of 1 to 10"));
    d.labels.push_back(int32_t(label) % 10);
  }
  for (int digit = 0; digit < 10; ++digit) d.class_names.push_back(std::to_string(digit));
  d.mean = d.stddev = {0.5f, 0.5f, 0.5f};
  check(d, path.string());
  return d;
}

}  // namespace

ImageSplit load_svhn(const std::filesystem::path& dir) {
  return {read_svhn(dir / "train_32x32.mat"), read_svhn(dir / "test_32x32.mat")};
}

}  // namespace sluice
