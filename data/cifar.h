// Reads CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009): records of labels and 3 planes of 32x32 bytes.
#pragma once

#include "data/dataset.h"

namespace sluice {

/// One record is `label_bytes` bytes, the last of them the label that is read, then 3,072 pixels, planes R, G, B.
struct CifarFormat {
  const char* name;
  const char* folder;  // of the archive
  const char* class_file;
  int64_t label_bytes;
  int64_t classes;
  std::vector<std::string> train_files, test_files;
  std::vector<float> mean, stddev;
};
CifarFormat cifar10_format();
CifarFormat cifar100_format();

/// The files of `dir`, one after another; pixels become [N, 32, 32, 3]. Class names come from the class file, or are
/// the class numbers where that is missing. Throws DataError for a missing file, a size that is no multiple of a
/// record, a label out of range and a class file of another length.
ImageDataset read_cifar(const std::filesystem::path& dir, const CifarFormat& format,
                        const std::vector<std::string>& files);

}  // namespace sluice
