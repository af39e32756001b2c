// Debian's index files: stanzas of "Field: value" lines with an empty line between them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sluice {

/// Throws DataError, naming the `kind` of file, for a text that is no UTF-8.
void for_each_stanza(std::string_view text, const char* kind, const std::function<void(std::string_view)>& f);
/// The value of a field, with the lines that go on with it: those that start with a space. Empty where there is none.
std::string_view field_of(std::string_view stanza, std::string_view field);
/// Lines that go on, without the space they start with; " ." is an empty line, and those at the beginning are left out.
std::string unfolded(std::string_view lines);

}  // namespace sluice
