// Writes timelines as SVG.
#include "apps/timeline_svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice {
namespace {

constexpr double kWidth = 1200, kLeft = 90, kRight = 16, kTop = 64, kLane = 34, kGap = 8, kDigit = 6.6;

struct Kind {
  const char *css, *label, *color;
};
/// Mid tones, on which dark digits are read in light and in dark.
constexpr Kind kKinds[] = {{"f", "forward", "#6ea8fe"},          {"d", "backward", "#f28b82"},
                           {"b", "backward, inputs", "#f6b26b"}, {"w", "backward, weights", "#81c995"},
                           {"u", "update", "#b39ddb"},           {"r", "recompute", "#78d0d8"},
                           {"g", "sum of gradients", "#f2a6cf"}, {"s", "send, receive", "#9aa0a6"}};

const Kind& kind_of(Do what) {
  switch (what) {
    case Do::kForward:
      return kKinds[0];
    case Do::kBackward:
      return kKinds[1];
    case Do::kBackwardInput:
      return kKinds[2];
    case Do::kBackwardWeight:
      return kKinds[3];
    case Do::kUpdate:
      return kKinds[4];
    case Do::kRecompute:
      return kKinds[5];
    case Do::kReduceGrad:
      return kKinds[6];
    default:
      return kKinds[7];
  }
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text)
    out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

/// 1, 2 or 5 times a power of ten that gives at most ten ticks.
double tick_of(double length) {
  const double power = std::pow(10.0, std::floor(std::log10(length / 10)));
  for (const double step : {1.0, 2.0, 5.0})
    if (length / (step * power) <= 10) return step * power;
  return 10 * power;
}

class TimelineSvg {
 public:
  explicit TimelineSvg(const TimelinePicture& p) : p_(p) {
    for (const TimelineBox& b : p.boxes) {
      begin_ = std::min(begin_, b.begin);
      end_ = std::max(end_, b.end);
    }
    if (!(end_ > begin_)) begin_ = 0, end_ = 1;
    bottom_ = kTop + double(p.lanes.size()) * (kLane + kGap);
  }

  std::string text() const {
    const double height = bottom_ + 34;
    std::string out = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" role=\"img\">\n"
        "<title>{}</title>\n<style>\n"
        "text{{font:12px system-ui,sans-serif;fill:#202124}}.back{{fill:#ffffff}}.lane{{fill:#f1f3f4}}"
        ".t{{fill:#5f6368;text-anchor:middle}}.h{{font-size:14px;font-weight:600}}"
        ".tick{{stroke:#5f6368;stroke-opacity:.35}}\n"
        "@media (prefers-color-scheme:dark){{text{{fill:#e8eaed}}.back{{fill:#16181c}}.lane{{fill:#24272d}}"
        ".t{{fill:#9aa0a6}}.tick{{stroke:#9aa0a6}}}}\n"
        ".n{{font-size:11px;fill:#17191c;text-anchor:middle}}\n",
        kWidth, height, kWidth, height, escaped(p_.title));
    for (const Kind& k : kKinds) out += fmt::format(".{}{{fill:{}}}", k.css, k.color);
    out += "\n</style>\n";
    out += fmt::format("<rect class=\"back\" width=\"{}\" height=\"{}\"/>\n", kWidth, height);
    out += fmt::format("<text class=\"h\" x=\"12\" y=\"22\">{}</text>\n", escaped(p_.title));
    return out + legend() + lanes() + axis() + boxes() + "</svg>\n";
  }

 private:
  double x(double time) const { return kLeft + (time - begin_) / (end_ - begin_) * (kWidth - kLeft - kRight); }
  static double y(int lane) { return kTop + lane * (kLane + kGap); }

  std::string legend() const {
    std::string out;
    double at = 12;
    for (const Kind& k : kKinds) {
      const auto is = [&](const TimelineBox& b) { return &kind_of(b.action.what) == &k; };
      if (std::none_of(p_.boxes.begin(), p_.boxes.end(), is)) continue;
      out += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"34\" width=\"14\" height=\"14\" rx=\"2\"/>", k.css, at);
      out += fmt::format("<text x=\"{}\" y=\"45\">{}</text>\n", at + 19, k.label);
      at += 40 + kDigit * double(std::string(k.label).size());
    }
    return out;
  }
  std::string lanes() const {
    std::string out;
    for (int i = 0; i < int(p_.lanes.size()); ++i)
      out += fmt::format(
          "<rect class=\"lane\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/><text x=\"12\" y=\"{}\">{}</text>\n",
          kLeft, y(i), kWidth - kLeft - kRight, kLane, y(i) + kLane / 2 + 4, escaped(p_.lanes[size_t(i)]));
    return out;
  }
  std::string axis() const {
    std::string out;
    const double tick = tick_of(end_ - begin_);
    for (int i = 0; begin_ + i * tick <= end_ * (1 + 1e-9); ++i) {
      const double at = x(begin_ + i * tick);
      out +=
          fmt::format("<line class=\"tick\" x1=\"{:.2f}\" x2=\"{:.2f}\" y1=\"{}\" y2=\"{}\"/>", at, at, kTop, bottom_);
      out +=
          fmt::format("<text class=\"t\" x=\"{:.2f}\" y=\"{}\">{:.4g} ms</text>\n", at, bottom_ + 18, 1e3 * i * tick);
    }
    return out;
  }
  std::string boxes() const {
    std::string out;
    for (const TimelineBox& b : p_.boxes) {
      const Kind& k = kind_of(b.action.what);
      const double left = x(b.begin), width = std::max(0.4, x(b.end) - left), top = y(b.lane);
      const double inset = width > 3 ? 0.4 : 0;  // so that neighbours stay apart
      const std::string number = std::to_string(b.action.mb);
      const std::string stage = size_t(b.action.stage) < p_.stages.size() ? p_.stages[size_t(b.action.stage)]
                                                                          : fmt::format("stage {}", b.action.stage);
      out += fmt::format("<rect class=\"{}\" x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" rx=\"{}\">", k.css,
                         left + inset, top, width - 2 * inset, kLane, width > 6 ? 2 : 0);
      out += fmt::format("<title>{}: {}, {}, {:.4g} ms</title></rect>", escaped(to_text(b.action)), k.label,
                         escaped(stage), 1e3 * (b.end - b.begin));
      if (b.action.what != Do::kUpdate && width >= kDigit * double(number.size()) + 4)
        out += fmt::format("<text class=\"n\" x=\"{:.2f}\" y=\"{}\">{}</text>", left + width / 2, top + kLane / 2 + 4,
                           number);
      out += "\n";
    }
    return out;
  }

  const TimelinePicture& p_;
  double begin_ = std::numeric_limits<double>::infinity(), end_ = -begin_, bottom_ = 0;
};

}  // namespace

std::string timeline_svg(const TimelinePicture& picture) { return TimelineSvg(picture).text(); }

TimelinePicture picture_of(const Timeline& timeline, std::string title, std::vector<std::string> lanes) {
  TimelinePicture p{.title = std::move(title), .lanes = std::move(lanes), .boxes = {}};
  for (const Timeline::Span& s : timeline.spans)
    if (s.end > s.begin) p.boxes.push_back({s.worker, s.begin, s.end, s.action});
  return p;
}

}  // namespace sluice
