// Mail: bytes that are shared.
#include "pipeline/courier.h"

#include <cstring>
#include <new>

namespace sluice {

Mail make_mail(size_t bytes) {
  constexpr std::align_val_t kAlign{64};
  auto* data = static_cast<std::byte*>(::operator new(bytes, kAlign));
  return {std::shared_ptr<std::byte[]>(data, [](std::byte* p) { ::operator delete(p, kAlign); }), bytes};
}

Mail make_mail(const std::string& text) {
  Mail mail = make_mail(text.size());
  std::memcpy(mail.data.get(), text.data(), text.size());
  return mail;
}

std::string text_of(const Mail& mail) {
  std::string text(mail.bytes, '\0');
  std::memcpy(text.data(), mail.data.get(), mail.bytes);
  return text;
}

}  // namespace sluice
