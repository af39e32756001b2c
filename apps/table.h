// A plain text table: left-aligned first column, right-aligned others, a rule under the header.
#pragma once

#include <string>
#include <vector>

namespace sluice {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "12.3 MB" (powers of 1000).
std::string bytes_text(int64_t bytes);

}  // namespace sluice
