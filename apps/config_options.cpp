// One flag for each key of the configuration.
#include "apps/config_options.h"

#include <algorithm>

#include "engine/error.h"

namespace sluice {

RunConfig ConfigOptions::resolve(RunConfig c) const {
  if (!config_file.empty()) read_config_file(c, config_file);
  for (const auto& [key, value] : flags) set_field(c, key, value);
  for (const std::string& s : sets) {
    const size_t equals = s.find('=');
    if (equals == std::string::npos) throw ConfigError(str("--set ", s, ": expected key=value"));
    set_field(c, s.substr(0, equals), s.substr(equals + 1));
  }
  return c;
}

std::shared_ptr<ConfigOptions> add_config_options(CLI::App& command) {
  auto options = std::make_shared<ConfigOptions>();
  command.add_option("--config", options->config_file, "JSON file with any of the keys below; flags override it");
  const RunConfig defaults;
  for (const ConfigField& f : config_fields()) {
    std::string flags = str("--", f.key);
    for (const ConfigAlias& a : config_aliases())
      if (std::string_view(a.key) == f.key) flags += str(",--", a.name);
    std::replace(flags.begin(), flags.end(), '_', '-');
    const std::string value = field_text(defaults, f);
    CLI::Option* option = command.add_option_function<std::string>(
        flags, [options, key = f.key](const std::string& v) { options->flags.emplace_back(key, v); },
        std::string(f.help) + (value.empty() ? "" : " [" + value + "]"));
    option->type_name("");
    if (std::holds_alternative<bool RunConfig::*>(f.member)) option->expected(0, 1)->default_str("true");
  }
  command.add_option("--set", options->sets, "key=value for any key above; applied last; may be repeated")
      ->type_name("KEY=VALUE");
  return options;
}

}  // namespace sluice
