// CIFAR reader: planes to interleaved channels, record by record.
#include "data/cifar.h"

#include <fstream>

namespace sluice {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kSide = 32, kPlane = kSide * kSide, kChannels = 3;

std::vector<uint8_t> read_records(const fs::path& path, int64_t record) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(str(path.string(), ": no such file, expected CIFAR records of ", record, " bytes"));
  const auto size = int64_t(fs::file_size(path));
  if (size == 0 || size % record != 0)
    throw DataError(str(path.string(), ": ", size, " bytes, expected a multiple of ", record, ", one record each"));
  std::vector<uint8_t> bytes(size_t(size), 0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  if (in.gcount() != size)
    throw DataError(str(path.string(), ": ", in.gcount(), " bytes could be read, expected ", size));
  return bytes;
}

void append(ImageDataset& d, const fs::path& path, const CifarFormat& format) {
  const int64_t record = format.label_bytes + kChannels * kPlane;
  const std::vector<uint8_t> bytes = read_records(path, record);
  const int64_t count = int64_t(bytes.size()) / record;
  for (int64_t r = 0; r < count; ++r) {
    const uint8_t* at = bytes.data() + r * record;
    const int32_t label = at[format.label_bytes - 1];
    if (label >= format.classes)
      throw DataError(
          str(path.string(), ": label ", label, " in record ", r, ", expected one in [0, ", format.classes, ")"));
    d.labels.push_back(label);
    const uint8_t* planes = at + format.label_bytes;
    for (int64_t i = 0; i < kPlane; ++i)
      for (int64_t c = 0; c < kChannels; ++c) d.pixels.push_back(planes[c * kPlane + i]);
  }
}

std::vector<std::string> class_names(const fs::path& path, int64_t classes) {
  std::vector<std::string> names;
  std::ifstream in(path);
  if (!in) {
    for (int64_t k = 0; k < classes; ++k) names.push_back(std::to_string(k));
    return names;
  }
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (int64_t(names.size()) != classes)
    throw DataError(str(path.string(), ": ", names.size(), " class names, expected ", classes));
  return names;
}

}  // namespace

// Means and deviations: those that published training codes use; they differ from the exact ones in the third digit.
CifarFormat cifar10_format() {
  return {.name = "the files of CIFAR-10's binary version",
          .folder = "cifar-10-batches-bin",
          .class_file = "batches.meta.txt",
          .label_bytes = 1,
          .classes = 10,
          .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                          "data_batch_5.bin"},
          .test_files = {"test_batch.bin"},
          .mean = {0.4914f, 0.4822f, 0.4465f},
          .stddev = {0.2023f, 0.1994f, 0.2010f}};
}
CifarFormat cifar100_format() {
  return {.name = "the files of CIFAR-100's binary version",
          .folder = "cifar-100-binary",
          .class_file = "fine_label_names.txt",
          .label_bytes = 2,  // coarse, fine
          .classes = 100,
          .train_files = {"train.bin"},
          .test_files = {"test.bin"},
          .mean = {0.5071f, 0.4867f, 0.4408f},
          .stddev = {0.2675f, 0.2565f, 0.2761f}};
}

ImageDataset read_cifar(const fs::path& dir, const CifarFormat& format, const std::vector<std::string>& files) {
  ImageDataset d;
  d.image = {kSide, kSide, kChannels};
  d.class_names = class_names(dir / format.class_file, format.classes);
  d.mean = format.mean;
  d.stddev = format.stddev;
  for (const std::string& file : files) append(d, dir / file, format);
  return d;
}

}  // namespace sluice
