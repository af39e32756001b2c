// A buffer over zlib, which passes plain files through.
#include "data/lines.h"

#include <zlib.h>

#include <algorithm>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr size_t kChunk = size_t(1) << 20;

}  // namespace

LineReader::LineReader(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
  if (!file_ || std::filesystem::is_directory(path))
    throw DataError(str(path.string(), ": no such file or not readable, expected a text"));
  gzbuffer(file_.get(), 1u << 17);
}
LineReader::~LineReader() = default;

void LineReader::fail(const std::string& what) const { throw DataError(str(path_.string(), ":", number_, ": ", what)); }

/// Drops what was handed out and reads on; false when nothing came.
bool LineReader::refill() {
  if (ended_) return false;
  buffer_.erase(0, at_);
  at_ = 0;
  const size_t kept = buffer_.size();
  buffer_.resize(kept + kChunk);
  const int got = gzread(file_.get(), buffer_.data() + kept, unsigned(kChunk));
  int code = Z_OK;
  const char* text = gzerror(file_.get(), &code);
  if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
    fail(str("broken gzip stream (", text, "), expected a complete file"));
  buffer_.resize(kept + size_t(got));
  ended_ = got == 0;
  return !ended_;
}

bool LineReader::next() {
  size_t end = buffer_.find('\n', at_);
  while (end == std::string::npos) {
    const size_t searched = buffer_.size() - at_;
    if (!refill()) {
      if (at_ == buffer_.size()) return false;
      end = buffer_.size();  // a last line without its end
      break;
    }
    end = buffer_.find('\n', searched);
  }
  line_ = std::string_view(buffer_).substr(at_, end - at_);
  at_ = std::min(end + 1, buffer_.size());
  if (!line_.empty() && line_.back() == '\r') line_.remove_suffix(1);
  ++number_;
  return true;
}

}  // namespace sluice
