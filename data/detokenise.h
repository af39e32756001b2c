// Text as one writes it from text that Moses' tokeniser has cut into words.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

/// The rules of Moses' detokenizer.perl for English and German, on valid UTF-8. Escapes become what they stand for
/// (&apos; &quot; &lt; &gt; &#124; &#91; &#93; &amp;), "@-@" a hyphen between its neighbours. Opening brackets and
/// signs of currency join the next word, closing brackets, `, . ? ! : ; \ %` the one before, quotes the next and the
/// one before in turn. In English 's and the like join the word before where that ends in a letter or digit, and a lone
/// ' the one before where that ends in s.
std::string detokenised(std::string_view text, bool english);

}  // namespace sluice
