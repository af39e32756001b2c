// Labelled images from folders of PNG and JPEG files: one folder a class, or tiny-ImageNet in either of its layouts.
#pragma once

#include <span>

#include "data/dataset.h"

namespace sluice {

/// Files and their classes, before anything is decoded.
struct ImageFiles {
  std::filesystem::path root{};
  std::vector<std::filesystem::path> paths{};  // below the root
  std::vector<int32_t> labels{};
  std::vector<std::string> class_names{};
};

/// dir/CLASS/**/FILE, where FILE ends in .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff or .webp in any case (the
/// list of torchvision's ImageFolder; what is not PNG or JPEG inside is refused when it is decoded). Classes are the
/// folders' names in order, files are in order of their paths. Throws DataError for a folder without classes and a
/// class without images.
ImageFiles list_class_folders(const std::filesystem::path& dir);

/// How files become a dataset.
struct ImageReading {
  int64_t side = 32;                    // images are made squares of this side: see fit_square()
  std::vector<float> mean{}, stddev{};  // one a channel
  std::filesystem::path cache{};        // a file of decoded images; empty: none
};

/// Decodes all files, or takes them from the cache when that is of the same files (paths, sizes and times of change)
/// and the same side; else writes it. Throws DataError: the file's path and what is wrong with it.
ImageDataset decode_images(const ImageFiles& files, const ImageReading& reading);

/// Images that stay files and are decoded each time they are fed, for sets that no memory holds. Where a window of any
/// area is cut, it is cut out of the whole image; else the shorter side becomes `shorter` and the middle is taken.
struct FolderImages final : ImageDataset {
  ImageFiles files{};   // as many as labels
  int64_t shorter = 0;  // at least the images' side

  void expect_sound(const std::string& where) const override;
  /// Throws DataError: the file's path and what is wrong with it.
  void fill(const BatchDraw& draw, std::span<const Ref> out) const override;
};
struct FolderSplit {
  FolderImages train, test;
};
/// ImageNet's train/CLASS/*.JPEG and val/CLASS/*.JPEG in `dir`, as squares of `side`; of test images the shorter side
/// becomes 8/7 of it first (256 for 224). Throws DataError, also when val's classes are not those of training.
FolderSplit load_imagenet(const std::filesystem::path& dir, int64_t side = 224);

/// tiny-ImageNet-200 in `dir` or dir/tiny-imagenet-200: train/WNID/images/*.JPEG, and as test set val/ either as
/// published (images/ and val_annotations.txt) or in folders of the classes. `cache_dir`: holds the caches; empty:
/// none. Throws DataError, also when a val folder's classes are not those of training.
ImageSplit load_tiny_imagenet(const std::filesystem::path& dir, const std::filesystem::path& cache_dir = {},
                              int64_t side = 32);

}  // namespace sluice
