// One pass over the tags, with a stack of the open spans.
#include "data/help_page.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {
namespace {

/// The text that a reference such as &amp; or &#228; (without & and ;) stands for; empty where it is unknown.
std::string referenced(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"amp", "&"},   {"lt", "<"},   {"gt", ">"},
                                                                      {"quot", "\""}, {"apos", "'"}, {"nbsp", " "}};
  for (const auto& [known, text] : kNames)
    if (name == known) return std::string(text);
  if (name.substr(0, 1) != "#") return {};
  const bool hex = name.substr(0, 2) == "#x";
  const std::string_view digits = name.substr(hex ? 2 : 1);
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
  const bool character = code < 0xD800 || (code > 0xDFFF && code < 0x110000);
  if (error != std::errc() || end != digits.data() + digits.size() || !character) return {};
  std::string text;
  append_utf8(code, text);
  return text;
}

void append_text(std::string_view html, std::string& to) {
  constexpr size_t kLongest = 8;  // characters of a reference
  for (size_t at = 0; at < html.size(); ++at) {
    const size_t end = html[at] == '&' ? html.find(';', at) : std::string_view::npos;
    const std::string text =
        end != std::string_view::npos && end - at <= kLongest ? referenced(html.substr(at + 1, end - at - 1)) : "";
    to += text.empty() ? std::string(1, html[at]) : text;
    if (!text.empty()) at = end;
  }
}

std::string_view attribute(std::string_view tag, std::string_view name) {
  const std::string begin = str(" ", name, "=\"");
  const size_t at = tag.find(begin);
  if (at == std::string_view::npos) return {};
  const std::string_view value = tag.substr(at + begin.size());
  return value.substr(0, value.find('"'));
}

bool is_paragraph(std::string_view name) {
  return name == "p" || (name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6');
}

class PageReader {
 public:
  /// `tag` without < and >.
  void read_tag(std::string_view tag) {
    const bool closes = tag.substr(0, 1) == "/";
    if (closes) tag.remove_prefix(1);
    const std::string_view name = tag.substr(0, tag.find_first_of(" \t\r\n/"));
    if (is_paragraph(name)) {
      if (closes)
        close();
      else
        open(attribute(tag, "id"));
    } else if (name == "span") {
      if (closes && !spans_.empty()) spans_.pop_back();
      if (!closes) open_span(attribute(tag, "class") == "switchinline");
    } else if (name == "br") {
      text_ += ' ';
    }
  }
  void read_text(std::string_view html) {
    if (!id_.empty()) append_text(html, text_);
  }
  std::map<std::string, std::string> paragraphs() && { return std::move(paragraphs_); }

 private:
  struct Span {
    bool offers = false;  // each span right in it is an alternative
    size_t begin = 0;     // in text_
  };
  void open(std::string_view id) {
    const bool wanted = id.substr(0, 6) == "par_id" || id.substr(0, 5) == "hd_id";
    id_ = wanted ? id : "";
    text_.clear();
    spans_.clear();
  }
  void close() {
    if (std::string text = joined_words(text_); !id_.empty() && !text.empty())
      paragraphs_.try_emplace(std::string(id_), std::move(text));
    id_ = {};
    text_.clear();
  }
  void open_span(bool offers) {
    if (!spans_.empty() && spans_.back().offers) text_.resize(std::min(text_.size(), spans_.back().begin));
    spans_.push_back({.offers = offers, .begin = text_.size()});
  }
  std::map<std::string, std::string> paragraphs_;
  std::string_view id_;
  std::string text_;
  std::vector<Span> spans_;
};

}  // namespace

std::map<std::string, std::string> help_paragraphs(std::string_view page) {
  PageReader reader;
  for (size_t at = 0; at < page.size();) {
    const size_t tag = std::min(page.find('<', at), page.size());
    reader.read_text(page.substr(at, tag - at));
    const bool comment = page.substr(tag, 4) == "<!--";
    const size_t end = comment ? page.find("-->", tag) : page.find('>', tag);
    if (end == std::string_view::npos) break;
    if (!comment) reader.read_tag(page.substr(tag + 1, end - tag - 1));
    at = end + (comment ? 3 : 1);
  }
  return std::move(reader).paragraphs();
}

}  // namespace sluice
