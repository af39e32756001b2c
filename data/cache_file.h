// Bytes that were costly to make, kept in a file under a text that says what they were made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sluice {

/// What the file keeps, or nothing where there is no such file, where it is of another `key`, cut, or damaged.
std::optional<std::vector<uint8_t>> read_cache(const std::filesystem::path& path, const std::string& key);

/// Makes missing folders and writes the file, which takes its place when it is whole: nobody ever reads a part of it.
/// False where it cannot be written; then nothing is left behind.
bool write_cache(const std::filesystem::path& path, const std::string& key, std::span<const uint8_t> bytes);

}  // namespace sluice
