// Typed errors of the whole engine. Each message says what, where and what was expected.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace sluice {

/// Joins its arguments with operator<<, in order.
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

/// The caller's file and line, taken as a default argument (std::source_location is avoided: clang 14 lacks it).
struct Where {
  const char* file;
  int line;
  static Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

/// Base of every error that Sluice throws.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor's shape is not what an op takes.
class ShapeError : public Error {
 public:
  using Error::Error;
};
/// A tensor's dtype is not among those an op takes.
class DTypeError : public Error {
 public:
  using Error::Error;
};
/// A device, driver or vendor library refused a call, or the device does not exist.
class DeviceError : public Error {
 public:
  using Error::Error;
};
/// The device or the operating system gave no more memory.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};
/// A schedule is incomplete, doubled, unreachable or does not fit the devices.
class ScheduleError : public Error {
 public:
  using Error::Error;
};
/// A parcel could not be moved between stages.
class TransportError : public Error {
 public:
  using Error::Error;
};
/// The run was ended by an error elsewhere; never the cause itself.
class Aborted : public Error {
 public:
  using Error::Error;
};
/// A file of data or weights is missing, truncated or not of the expected format.
class DataError : public Error {
 public:
  using Error::Error;
};
/// A configuration key or value is unknown or out of range.
class ConfigError : public Error {
 public:
  using Error::Error;
};
/// Training left the finite numbers.
class NumericError : public Error {
 public:
  using Error::Error;
};

}  // namespace sluice
