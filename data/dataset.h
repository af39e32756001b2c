// Labelled images in host memory, and the readers of Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/sample_source.h"

namespace sluice {

/// Fill it by hand for a dataset of one's own; Loader checks it.
struct ImageDataset : SampleSource {
  Shape image;                           // [H, W, C]
  std::vector<uint8_t> pixels;           // [N, H, W, C]
  std::vector<int32_t> labels;           // [N], in [0, classes)
  std::vector<std::string> class_names;  // one a class
  std::vector<float> mean, stddev;       // [C], of pixel / 255; what a model is fed is (pixel / 255 - mean) / stddev

  int64_t size() const override { return int64_t(labels.size()); }
  int64_t classes() const override { return int64_t(class_names.size()); }
  void expect_sound(const std::string& where) const override;
  void expect_fits(const Augmentation& augmentation) const override;
  /// "images" [b, H, W, C] f32, normalised, and "labels" [b] i32; b counts the views of training images. Where samples
  /// are mixed also "labels2" [b] i32, the other sample's class, and "share" [b] f32 in [0, 1], that of "labels".
  std::vector<BatchPort> ports(const BatchDraw& draw) const override;
  void fill(const BatchDraw& draw, std::span<const Ref> out) const override;
};

/// Throws DataError, starting with `where`, when counts do not fit together or a label is out of range.
void check(const ImageDataset& d, const std::string& where);

struct ImageSplit {
  ImageDataset train, test;
};

/// From {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] in `dir`. Images are put in the middle of black squares of
/// side `pad_to` (28 pixels: as they are). All readers throw DataError: path, what was found, what was expected.
ImageSplit load_fashion_mnist(const std::filesystem::path& dir, int64_t pad_to = 32);
/// From data_batch_{1..5}.bin, test_batch.bin and, if there, batches.meta.txt in `dir` or dir/cifar-10-batches-bin.
ImageSplit load_cifar10(const std::filesystem::path& dir);
/// Fine labels, from train.bin, test.bin and, if there, fine_label_names.txt in `dir` or dir/cifar-100-binary.
ImageSplit load_cifar100(const std::filesystem::path& dir);
/// Cropped digits, from train_32x32.mat and test_32x32.mat in `dir`; pixels of -1 .. 1.
ImageSplit load_svhn(const std::filesystem::path& dir);

}  // namespace sluice
