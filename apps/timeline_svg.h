// Pictures of who does what when: of plans on paper and of measured runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/simulate.h"

namespace sluice {

/// What a device does for a while.
struct TimelineBox {
  int lane = 0;
  double begin = 0, end = 0;  // seconds
  Action action;
};

struct TimelinePicture {
  std::string title;
  std::vector<std::string> lanes;  // from the top
  std::vector<TimelineBox> boxes;
  std::vector<std::string> stages{};  // names for the boxes' tooltips; empty: numbers
};

/// SVG: a lane for each device, a box for each action in the colour of its kind with the number of its micro-batch
/// where there is room, a time axis and a legend of the kinds that occur. Colours are fit for light and dark
/// surroundings: the background follows the viewer's preference and is drawn in any case.
std::string timeline_svg(const TimelinePicture& picture);

/// The computing actions of a run on paper, and the sends that take time.
TimelinePicture picture_of(const Timeline& timeline, std::string title, std::vector<std::string> lanes);

}  // namespace sluice
