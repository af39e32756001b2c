// A page of LibreOffice's help as text.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace sluice {

/// Text of the paragraphs and headings by id, white space made single. Where the page offers alternatives, such as the
/// keys of a Mac and of others, the last is taken. The page is as LibreOffice writes it, in UTF-8; this is no reader of
/// any HTML.
std::map<std::string, std::string> help_paragraphs(std::string_view page);

}  // namespace sluice
