// TensorBoard's event files: scalars over steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace sluice {

/// CRC-32C (Castagnoli; polynomial 0x1EDC6F41 reflected), as the records of event files carry it.
uint32_t crc32c(std::string_view bytes);

/// Appends to `dir`/events.out.tfevents.*: records of TFRecord framing (length, masked CRC, protobuf Event, masked
/// CRC).
class EventFile {
 public:
  /// Makes a new file, named after the time and the process. Throws DataError with the path and the system's reason.
  explicit EventFile(const std::filesystem::path& dir);
  /// One scalar at a step. Throws DataError when it cannot be written.
  void scalar(const std::string& tag, int64_t step, float value);

 private:
  void record(const std::string& event);
  std::string path_;
  std::ofstream out_;
};

}  // namespace sluice
