// Plain values in the bytes of a message between processes of one program on one kind of machine.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/error.h"
#include "pipeline/courier.h"

namespace sluice {

class Packer {
 public:
  template <class T>
  requires std::is_trivially_copyable_v<T> Packer& add(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  template <class T>
  Packer& add(const std::vector<T>& values) {
    add(uint64_t(values.size()));
    for (const T& v : values) add(v);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Takes values out in the order in which they were put in. Throws TransportError behind the end.
class Unpacker {
 public:
  explicit Unpacker(Mail mail) : mail_(std::move(mail)) {}
  explicit Unpacker(const std::string& bytes) : mail_(make_mail(bytes)) {}
  template <class T>
  requires std::is_trivially_copyable_v<T> T take() {
    if (mail_.bytes - at_ < sizeof(T))
      throw TransportError(str("a message of ", mail_.bytes, " bytes, expected ", sizeof(T), " more"));
    T value;
    std::memcpy(&value, mail_.data.get() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  template <class T>
  std::vector<T> take_all() {
    std::vector<T> values;
    for (auto left = take<uint64_t>(); left > 0; --left) values.push_back(take<T>());
    return values;
  }
  bool at_end() const { return at_ == mail_.bytes; }
  /// What is behind the last one.
  std::string rest() const { return text_of(mail_).substr(at_); }
  std::vector<std::byte> rest_bytes() const { return {mail_.data.get() + at_, mail_.data.get() + mail_.bytes}; }

 private:
  Mail mail_;
  size_t at_ = 0;
};

}  // namespace sluice
