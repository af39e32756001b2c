// Goes through stanzas and their fields.
#include "data/debian_stanza.h"

#include <algorithm>

#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {

void for_each_stanza(std::string_view text, const char* kind, const std::function<void(std::string_view)>& f) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    throw DataError(str("Debian's index: ", kind, " holds a byte that is no UTF-8, expected a text in UTF-8"));
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("\n\n", at), text.size());
    f(text.substr(at, end - at));
    at = end + 2;
  }
}

std::string_view field_of(std::string_view stanza, std::string_view field) {
  const auto line_end = [&](size_t from) { return std::min(stanza.find('\n', from), stanza.size()); };
  for (size_t begin = 0; begin < stanza.size();) {
    size_t end = line_end(begin);
    while (end + 1 < stanza.size() && stanza[end + 1] == ' ') end = line_end(end + 1);
    std::string_view line = stanza.substr(begin, end - begin);
    begin = end + 1;
    if (line.substr(0, field.size()) != field || line.size() == field.size() || line[field.size()] != ':') continue;
    line.remove_prefix(field.size() + 1);
    return line.substr(std::min(line.find_first_not_of(' '), line.size()));
  }
  return {};
}

std::string unfolded(std::string_view lines) {
  std::string out;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    std::string_view line = lines.substr(at, end - at);
    if (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    out.append(out.empty() ? "" : "\n").append(line == "." ? "" : line);
    at = end + 1;
  }
  return out;
}

}  // namespace sluice
