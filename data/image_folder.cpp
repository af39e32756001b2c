// Lists folders in an order that does not depend on the file system, then decodes file by file.
#include "data/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>

#include "data/augment.h"
#include "data/cache_file.h"
#include "data/resize.h"
#include "engine/rng.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void bad_folder(const fs::path& path, const std::string& what) {
  throw DataError(str(path.string(), ": ", what));
}

bool is_image_name(const fs::path& path) {
  constexpr std::array kEndings{".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"};
  std::string ending = path.extension().string();
  for (char& ch : ending) ch = char(std::tolower(static_cast<unsigned char>(ch)));
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

/// Names of the folders in `dir`, in order.
std::vector<std::string> folders(const fs::path& dir) {
  std::vector<std::string> names;
  for (const fs::directory_entry& e : fs::directory_iterator(dir))
    if (e.is_directory()) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Image files anywhere below `dir`, relative to `root`, in order.
std::vector<fs::path> images_below(const fs::path& dir, const fs::path& root) {
  std::vector<fs::path> found;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const fs::directory_entry& e : fs::recursive_directory_iterator(dir, options))
    if (e.is_regular_file() && is_image_name(e.path())) found.push_back(e.path().lexically_relative(root));
  std::sort(found.begin(), found.end());
  return found;
}

/// Runs `f` and gives errors of the file system the form of ours.
template <class F>
auto with_data_errors(const fs::path& dir, F&& f) {
  try {
    return f();
  } catch (const fs::filesystem_error& e) {
    bad_folder(dir, str("cannot be listed (", e.what(), "), expected folders of images"));
  }
}

/// One line of val_annotations.txt: file, class and a box, by tabs.
struct Annotation {
  std::string file, wnid;
};
Annotation parse(const std::string& line) {
  const size_t first = line.find('\t'), second = line.find('\t', first == std::string::npos ? first : first + 1);
  if (first == std::string::npos) return {};
  std::string wnid = line.substr(first + 1, second == std::string::npos ? second : second - first - 1);
  if (!wnid.empty() && wnid.back() == '\r') wnid.pop_back();
  return {line.substr(0, first), wnid};
}

/// val/images and val/val_annotations.txt; labels are places in `classes`, which is in order.
ImageFiles list_annotated(const fs::path& val, const std::vector<std::string>& classes) {
  const fs::path list = val / "val_annotations.txt";
  std::ifstream in(list);
  if (!in) bad_folder(list, "cannot be read, expected a file name and a class a line");
  ImageFiles files{.root = val, .class_names = classes};
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line == "\r") continue;
    const Annotation a = parse(line);
    if (a.file.empty() || a.wnid.empty())
      bad_folder(list, str("line ", number, " is '", line, "', expected a file name, a tab and a class"));
    const auto at = std::lower_bound(classes.begin(), classes.end(), a.wnid);
    if (at == classes.end() || *at != a.wnid)
      bad_folder(list, str("line ", number, " has class '", a.wnid, "', expected one of the ", classes.size(),
                           " of training"));
    files.paths.push_back(fs::path("images") / a.file);
    files.labels.push_back(int32_t(at - classes.begin()));
    if (!fs::is_regular_file(val / files.paths.back()))
      bad_folder(list, str("line ", number, " names '", a.file, "', expected a file in images/"));
  }
  if (files.paths.empty()) bad_folder(list, "no images, expected at least one");
  return files;
}

ImageFiles list_validation(const fs::path& val, const std::vector<std::string>& classes) {
  if (fs::is_directory(val / "images") && fs::is_regular_file(val / "val_annotations.txt"))
    return list_annotated(val, classes);
  ImageFiles files = list_class_folders(val);
  if (files.class_names != classes) {
    const auto [ours, theirs] =
        std::mismatch(files.class_names.begin(), files.class_names.end(), classes.begin(), classes.end());
    bad_folder(val, str("classes ", files.class_names.size(), " in number, the first odd one '",
                        ours == files.class_names.end() ? "" : *ours, "', expected the ", classes.size(),
                        " of training, '", theirs == classes.end() ? "" : *theirs, "' there"));
  }
  return files;
}

/// Changes with any file's path, size or time of change, and with the side.
uint64_t fingerprint(const ImageFiles& files, int64_t side) {
  std::string text = str(side);
  for (const fs::path& path : files.paths) {
    const fs::path whole = files.root / path;
    text +=
        str("\n", path.string(), " ", fs::file_size(whole), " ", fs::last_write_time(whole).time_since_epoch().count());
  }
  return path_hash(text);
}

}  // namespace

ImageFiles list_class_folders(const fs::path& dir) {
  if (!fs::is_directory(dir)) bad_folder(dir, "no such folder, expected one with a folder of images for each class");
  return with_data_errors(dir, [&] {
    ImageFiles files{.root = dir, .class_names = folders(dir)};
    if (files.class_names.empty()) bad_folder(dir, "no folders, expected one for each class");
    for (size_t k = 0; k < files.class_names.size(); ++k) {
      const std::vector<fs::path> paths = images_below(dir / files.class_names[k], dir);
      if (paths.empty())
        bad_folder(dir / files.class_names[k], "a class without images, expected at least one PNG or JPEG");
      files.paths.insert(files.paths.end(), paths.begin(), paths.end());
      files.labels.resize(files.paths.size(), int32_t(k));
    }
    return files;
  });
}

ImageDataset decode_images(const ImageFiles& files, const ImageReading& reading) {
  if (reading.side < 1) throw ConfigError(str("images of side ", reading.side, ", expected at least 1"));
  ImageDataset d;
  d.image = {reading.side, reading.side, 3};
  d.labels = files.labels;
  d.class_names = files.class_names;
  d.mean = reading.mean;
  d.stddev = reading.stddev;
  std::string key;
  if (!reading.cache.empty()) {
    key = str("images ", d.image.text(), " ", files.paths.size(), " ",
              with_data_errors(files.root, [&] { return fingerprint(files, reading.side); }));
    if (auto pixels = read_cache(reading.cache, key)) d.pixels = std::move(*pixels);
  }
  if (d.pixels.empty()) {
    d.pixels.reserve(files.paths.size() * size_t(d.image.numel()));
    for (const fs::path& path : files.paths) {
      const RgbImage image = fit_square(read_image(files.root / path), reading.side);
      d.pixels.insert(d.pixels.end(), image.pixels.begin(), image.pixels.end());
    }
    if (!reading.cache.empty() && !write_cache(reading.cache, key, d.pixels))
      bad_folder(reading.cache,
                 str("the cache of decoded images cannot be written, expected a writable folder with room for ",
                     d.pixels.size(), " bytes"));
  }
  check(d, files.root.string());
  return d;
}

void FolderImages::expect_sound(const std::string& where) const {
  if (labels.empty() || files.paths.size() != labels.size())
    throw DataError(
        str(where, ": ", files.paths.size(), " files, expected one for each of ", labels.size(), " labels"));
  if (image.rank() != 3 || image[2] != 3 || shorter < image[0] || image[0] != image[1])
    throw DataError(str(where, ": images of shape ", image.text(), " out of a side of ", shorter,
                        ", expected RGB squares of at most that"));
}

void FolderImages::fill(const BatchDraw& draw, std::span<const Ref> out) const {
  const auto decoded = [&](int64_t i) {
    RgbImage whole = read_image(files.root / files.paths[size_t(i)]);
    return draw.augmentation.any_area ? whole : fit_square(whole, shorter, image[0]);
  };
  fill_images(*this, draw, decoded, out);
}

FolderSplit load_imagenet(const fs::path& dir, int64_t side) {
  const auto part = [side](ImageFiles listed) {
    FolderImages d;
    d.image = {side, side, 3};
    d.labels = listed.labels;
    d.class_names = listed.class_names;
    d.mean = {0.485f, 0.456f, 0.406f};
    d.stddev = {0.229f, 0.224f, 0.225f};
    d.shorter = side * 8 / 7;
    d.files = std::move(listed);
    return d;
  };
  const ImageFiles train = list_class_folders(dir / "train");
  return {part(train), part(list_validation(dir / "val", train.class_names))};
}

ImageSplit load_tiny_imagenet(const fs::path& dir, const fs::path& cache_dir, int64_t side) {
  const fs::path inner = fs::is_directory(dir / "tiny-imagenet-200") ? dir / "tiny-imagenet-200" : dir;
  if (!fs::is_directory(inner / "train") || !fs::is_directory(inner / "val"))
    bad_folder(inner, "not tiny-ImageNet's folder, expected one with train/ and val/");
  const ImageFiles train = list_class_folders(inner / "train");
  const ImageFiles val = list_validation(inner / "val", train.class_names);
  const auto read = [&](const ImageFiles& files, const char* part) {
    // Means and deviations that published training codes use.
    ImageReading reading{.side = side, .mean = {0.4802f, 0.4481f, 0.3975f}, .stddev = {0.2770f, 0.2691f, 0.2821f}};
    if (!cache_dir.empty()) reading.cache = cache_dir / str("tiny-imagenet-", part, "-", side, ".images");
    return decode_images(files, reading);
  };
  return {read(train, "train"), read(val, "val")};
}

}  // namespace sluice
