// How messages get from one process of a run to another: what Peers stands on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace sluice {

/// The bytes of a message; whoever holds them keeps them.
struct Mail {
  std::shared_ptr<std::byte[]> data;
  size_t bytes = 0;
};
/// 64-byte aligned host memory. Contents undefined.
Mail make_mail(size_t bytes);
Mail make_mail(const std::string& text);
std::string text_of(const Mail& mail);

struct Envelope {
  int peer = 0;  // to whom, from whom
  uint32_t topic = 0;
  Mail mail;
};

/// Moves messages between `ranks()` processes, numbered from 0; those from one to another arrive in order. Made, used
/// and dropped by one thread; nothing blocks but making and closing. Every call throws TransportError.
class Courier {
 public:
  /// Where a message goes that is about to arrive.
  using Room = std::function<Mail(uint32_t topic, size_t bytes)>;

  virtual ~Courier() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// Begins to send; holds the mail until it has left.
  virtual void send(Envelope e) = 0;
  virtual bool all_sent() = 0;
  /// The next message that has arrived whole.
  virtual std::optional<Envelope> receive(const Room& room) = 0;
  /// After the last call of any other kind. `together`: every process closes now and none has a message under way.
  virtual void close(bool together) = 0;
};
using CourierPtr = std::unique_ptr<Courier>;

}  // namespace sluice
