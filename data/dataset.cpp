// Puts the files of a dataset together and checks that they belong together.
#include "data/dataset.h"

#include <algorithm>

#include "data/cifar.h"
#include "data/idx.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

void expect_folder(const fs::path& dir, const char* holding) {
  if (!fs::is_directory(dir)) throw DataError(str(dir.string(), ": no such folder, expected one with ", holding));
}

/// Copies images [n, h, w] into the middle of black squares.
std::vector<uint8_t> pad_squares(const IdxArray& a, int64_t side) {
  const int64_t n = a.dims[0], h = a.dims[1], w = a.dims[2];
  std::vector<uint8_t> out(size_t(n * side * side), 0);
  const int64_t top = (side - h) / 2, left = (side - w) / 2;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t y = 0; y < h; ++y)
      std::copy_n(a.bytes.begin() + (i * h + y) * w, w, out.begin() + (i * side + top + y) * side + left);
  return out;
}

ImageDataset fashion_part(const fs::path& dir, const std::string& part, int64_t pad_to) {
  const fs::path images_path = dir / (part + "-images-idx3-ubyte");
  IdxArray images = read_idx(images_path, 3);
  const IdxArray labels = read_idx(dir / (part + "-labels-idx1-ubyte"), 1);
  if (images.dims[0] != labels.dims[0])
    throw DataError(str(images_path.string(), ": ", images.dims[0], " images, expected as many as the ", labels.dims[0],
                        " labels of ", part, "-labels-idx1-ubyte"));
  if (images.dims[1] > pad_to || images.dims[2] > pad_to)
    throw DataError(str(images_path.string(), ": images of ", images.dims[1], "x", images.dims[2],
                        ", expected at most ", pad_to, "x", pad_to));
  ImageDataset d;
  d.image = {pad_to, pad_to, 1};
  d.pixels = pad_squares(images, pad_to);
  d.labels.assign(labels.bytes.begin(), labels.bytes.end());
  d.class_names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                   "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  d.mean = {0.2860f};
  d.stddev = {0.3530f};
  check(d, images_path.string());
  return d;
}

ImageSplit load_cifar(const fs::path& dir, const CifarFormat& format) {
  expect_folder(dir, format.name);
  const fs::path inner = fs::is_directory(dir / format.folder) ? dir / format.folder : dir;
  ImageSplit split;
  split.train = read_cifar(inner, format, format.train_files);
  split.test = read_cifar(inner, format, format.test_files);
  return split;
}

}  // namespace

void check(const ImageDataset& d, const std::string& where) {
  const auto fail = [&](const std::string& what) { throw DataError(str(where, ": ", what)); };
  if (d.image.rank() != 3 || d.image.numel() <= 0)
    fail(str("images of shape ", d.image.text(), ", expected height, width, channels"));
  if (d.labels.empty()) fail("no images, expected at least one");
  const auto expected = d.labels.size() * size_t(d.image.numel());
  if (d.pixels.size() != expected)
    fail(str(d.pixels.size(), " pixel values, expected ", expected, " for ", d.size(), " labels"));
  const auto channels = size_t(d.image.cols());
  if (d.mean.size() != channels || d.stddev.size() != channels)
    fail(str(d.mean.size(), " means and ", d.stddev.size(), " deviations, expected ", channels));
  for (float s : d.stddev)
    if (!(s > 0.0f)) fail(str("a deviation of ", s, ", expected a positive number"));
  for (size_t i = 0; i < d.labels.size(); ++i)
    if (d.labels[i] < 0 || d.labels[i] >= d.classes())
      fail(str("label ", d.labels[i], " of image ", i, ", expected one in [0, ", d.classes(), ")"));
}

ImageSplit load_fashion_mnist(const fs::path& dir, int64_t pad_to) {
  expect_folder(dir, "the four idx files of Fashion-MNIST");
  return {fashion_part(dir, "train", pad_to), fashion_part(dir, "t10k", pad_to)};
}
ImageSplit load_cifar10(const fs::path& dir) { return load_cifar(dir, cifar10_format()); }
ImageSplit load_cifar100(const fs::path& dir) { return load_cifar(dir, cifar100_format()); }

}  // namespace sluice
