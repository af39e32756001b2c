// Runs apt with a configuration of its own; no shell takes part.
#include "apps/debian_index.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "apps/progress.h"
#include "apps/run_dir.h"
#include "engine/error.h"

extern char** environ;

namespace sluice {
namespace {

namespace fs = std::filesystem;
constexpr const char* kHelper = "/usr/lib/apt/apt-helper";

/// Runs a program to its end, in a folder, and hears what it writes to its standard output. Throws
/// DataError when it fails.
void run_program(const std::vector<std::string>& words, const std::function<void(std::string_view)>& on_output,
                 const char* in = ".") {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw DataError(str(words[0], ": no pipe: ", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addchdir_np(&actions, in);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string buffer(size_t(1) << 16, '\0');
  ssize_t got = 0;
  while (error == 0 && ((got = read(ends[0], buffer.data(), buffer.size())) > 0 || (got < 0 && errno == EINTR)))
    if (got > 0) on_output(std::string_view(buffer).substr(0, size_t(got)));
  close(ends[0]);
  if (error != 0)
    throw DataError(str(words[0], ": cannot be run (", std::strerror(error), "), expected apt, as on Debian"));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw DataError(str(words[0], " ", words[1], ": failed, expected it to end well; what it said stands above"));
}

/// The part of a list's name before `kind`; empty where the name is of another kind. What may follow is a compression.
std::string release_of(const fs::path& file, const std::string& kind) {
  const std::string name = file.filename().string();
  const size_t at = name.find(kind);
  if (at == std::string::npos) return {};
  const std::string rest = name.substr(at + kind.size());
  const bool whole = rest.empty() || (rest[0] == '.' && rest.find("diff") == std::string::npos);
  return whole ? name.substr(0, at) : std::string();
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Files of /etc/apt that name a Debian archive.
std::vector<fs::path> debian_sources() {
  std::vector<fs::path> candidates{"/etc/apt/sources.list"}, found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/etc/apt/sources.list.d", none))
    if (entry.path().extension() == ".sources" || entry.path().extension() == ".list")
      candidates.push_back(entry.path());
  for (const fs::path& path : candidates)
    if (fs::is_regular_file(path, none) && read_text(path).find("/debian") != std::string::npos) found.push_back(path);
  std::sort(found.begin(), found.end());
  return found;
}

void show(std::string_view said) { std::fwrite(said.data(), 1, said.size(), stderr); }

/// `on_bytes` hears how many bytes have been read so far.
std::string read_index_file(const fs::path& file, const std::function<void(int64_t)>& on_bytes) {
  const std::string extension = file.extension().string();
  std::string text;
  if (extension == ".lz4" || extension == ".gz" || extension == ".xz" || extension == ".bz2" || extension == ".zst") {
    run_program({kHelper, "cat-file", file.string()}, [&](std::string_view part) {
      text += part;
      on_bytes(int64_t(text.size()));
    });
  } else {
    text = read_text(file);
    on_bytes(int64_t(text.size()));
  }
  if (text.empty()) throw DataError(str(file.string(), ": empty or not readable, expected a part of Debian's index"));
  return text;
}

}  // namespace

IndexFiles find_index_files(const fs::path& lists) {
  std::vector<fs::path> all;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(lists, none)) all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  const auto is_packages = [](const fs::path& p) {
    const std::string name = p.filename().string();
    return name.find("_main_binary-") != std::string::npos && !release_of(p, "_Packages").empty();
  };
  const auto release = [](const fs::path& p) {
    const std::string name = p.filename().string();
    return name.substr(0, name.find("_main_binary-"));
  };
  IndexFiles files;
  for (const fs::path& p : all) {
    if (!is_packages(p)) continue;
    for (const fs::path& d : all) {
      if (release_of(d, "_main_i18n_Translation-en") != release(p)) continue;
      files.packages.push_back(p);
      files.descriptions.push_back(d);
    }
  }
  files.descriptions.erase(std::unique(files.descriptions.begin(), files.descriptions.end()),
                           files.descriptions.end());  // a release with packages of several architectures
  return files;
}

std::vector<fs::path> find_translations(const fs::path& lists, const std::string& language) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(lists, none))
    if (!release_of(entry.path(), "_main_i18n_Translation-" + language).empty()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

Apt::Apt(const fs::path& dir, const std::vector<std::string>& languages) : dir_(dir) {
  const std::vector<fs::path> sources = debian_sources();
  if (sources.empty())
    throw DataError("/etc/apt: no source of Debian packages, expected one whose address ends in /debian");
  const fs::path parts = dir / "parts";
  for (const fs::path& folder : {lists() / "partial", parts, dir / "cache" / "archives" / "partial"})
    fs::create_directories(folder);
  for (const fs::path& source : sources)
    fs::copy_file(source, parts / source.filename(), fs::copy_options::overwrite_existing);
  std::string wanted;
  for (const std::string& language : languages) wanted += str("\"", language, "\";");
  // A file for -c is read after the system's, so that it can clear what that says of languages.
  write_file(config(), str("#clear Acquire::Languages;\nAcquire::Languages {", wanted, "};\n",  //
                           "Dir::State::lists \"", lists().string(), "\";\n",                   //
                           "Dir::Cache \"", (dir / "cache").string(), "\";\n",                  //
                           "Dir::Etc::sourcelist \"", (dir / "none.list").string(), "\";\n",    //
                           "Dir::Etc::sourceparts \"", parts.string(), "\";\n",                 //
                           geteuid() == 0 ? "APT::Sandbox::User \"root\";\n" : ""));
  run_program({"apt-get", "-c", config(), "-q", "update"}, show);
}

fs::path Apt::unpack(const std::vector<std::string>& packages) const {
  const fs::path packed = dir_ / "packed", root = dir_ / "root";
  fs::create_directories(packed);
  fs::create_directories(root);
  for (const std::string& package : packages) {
    run_program({"apt-get", "-c", config(), "-q", "download", package}, show, packed.c_str());
    for (const auto& entry : fs::directory_iterator(packed))
      if (entry.path().filename().string().starts_with(package + "_"))
        run_program({"dpkg-deb", "-x", entry.path().string(), root.string()}, show);
  }
  return root;
}

void read_index_files(const std::vector<fs::path>& files,
                      const std::function<void(size_t, const std::string&)>& on_text) {
  int64_t packed = 0;
  for (const fs::path& file : files) packed += int64_t(fs::file_size(file));
  // The bar counts packed megabytes: how large a file is once unpacked shows only at its end.
  Progress bar("reading the index", std::max<int64_t>(packed / 1'000'000, 1), stderr, "MB");
  int64_t before = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto size = int64_t(fs::file_size(files[i]));
    on_text(i, read_index_file(files[i], [&](int64_t bytes) {
              bar.update((before + std::min(bytes / 2, size)) / 1'000'000);  // lists shrink to about half under lz4
            }));
    before += size;
    bar.update(before / 1'000'000);
  }
  bar.finish();
}

}  // namespace sluice
