// The header is a Python dictionary in text, padded so that the numbers begin at a multiple of 64.
#include "apps/npy.h"

#include <cstring>
#include <fstream>
#include <numeric>
#include <regex>
#include <sstream>

#include "apps/run_dir.h"
#include "kernels/common/error.h"

namespace sluice {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kPrefix = 10;  // magic, version, length of the header

[[noreturn]] void bad_npy(const std::filesystem::path& path, const std::string& what) {
  throw DataError(str(path.string(), ": ", what, "; expected an .npy file of little-endian f4 or f8 in C order"));
}

std::vector<int64_t> shape_in(const std::filesystem::path& path, const std::string& header) {
  std::smatch m;
  if (!std::regex_search(header, m, std::regex("'shape': *\\(([0-9, ]*)\\)"))) bad_npy(path, "no shape");
  std::vector<int64_t> shape;
  std::istringstream in(m[1].str());
  for (std::string item; std::getline(in, item, ',');) {
    if (item.find_first_of("0123456789") == std::string::npos) continue;
    if (item.size() > 12) bad_npy(path, str("a dimension of ", item));
    shape.push_back(std::stoll(item));
  }
  if (shape.size() > 4) bad_npy(path, str(shape.size(), " dimensions"));
  return shape;
}

template <class T>
std::vector<double> numbers(const std::string& bytes, size_t begin, size_t count) {
  std::vector<T> raw(count);
  if (count > 0) std::memcpy(raw.data(), bytes.data() + begin, count * sizeof(T));
  return {raw.begin(), raw.end()};
}

}  // namespace

void write_npy(const std::filesystem::path& path, const NpyArray& a) {
  std::string shape;
  for (const int64_t d : a.shape) shape += str(d, ", ");
  if (a.shape.size() > 1) shape.resize(shape.size() - 2);
  std::string header = str("{'descr': '<f8', 'fortran_order': False, 'shape': (", shape, "), }");
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  std::string file(kMagic, 6);
  file += {1, 0, char(header.size() & 0xff), char(header.size() >> 8)};
  file += header;
  file.append(reinterpret_cast<const char*>(a.values.data()), a.values.size() * sizeof(double));
  write_file(path.string(), file);
}

NpyArray read_npy(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(str(path.string(), ": cannot be read"));
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (bytes.size() < kPrefix || bytes.compare(0, 6, kMagic, 6) != 0) bad_npy(path, "no .npy file");
  const auto byte = [&](size_t i) { return size_t(uint8_t(bytes[i])); };
  const bool wide = bytes[6] > 1;
  const size_t begin = wide ? 12 : kPrefix;
  if (bytes.size() < begin) bad_npy(path, "a header that is cut off");
  const size_t length = byte(8) + (byte(9) << 8) + (wide ? (byte(10) << 16) + (byte(11) << 24) : 0);
  if (bytes.size() < begin + length) bad_npy(path, "a header that is cut off");
  const std::string header = bytes.substr(begin, length);
  const bool f4 = header.find("'<f4'") != std::string::npos, f8 = header.find("'<f8'") != std::string::npos;
  if ((!f4 && !f8) || header.find("'fortran_order': True") != std::string::npos) bad_npy(path, header);
  NpyArray a{.shape = shape_in(path, header), .values = {}};
  const size_t left = bytes.size() - begin - length;
  double wanted = 1;  // which no shape overflows
  for (const int64_t d : a.shape) wanted *= double(d);
  if (wanted * (f4 ? 4 : 8) != double(left))
    bad_npy(path, str(left, " bytes behind a header that says ", wanted, " numbers"));
  const size_t count = left / (f4 ? 4 : 8);
  a.values = f4 ? numbers<float>(bytes, begin + length, count) : numbers<double>(bytes, begin + length, count);
  return a;
}

}  // namespace sluice
