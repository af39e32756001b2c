# Sourced by the scripts: where data is kept, and how Debian packages that are missing are installed.
# shellcheck shell=bash disable=SC2034

# What configuring the project needs, tests and benchmarks included.
build_packages=(g++ cmake ninja-build ccache libdnnl-dev ocl-icd-opencl-dev libcli11-dev nlohmann-json3-dev libfmt-dev
  zlib1g-dev libpng-dev libjpeg62-turbo-dev libsentencepiece-dev libopenmpi-dev openmpi-bin libgtest-dev
  libgmock-dev libbenchmark-dev python3 gnuplot-nox)
# What the gates and the clang build need on top.
check_packages=(clang clang-tidy clang-format libomp-dev git)

# Where data sets are kept, each in a folder of its own.
data_dir=$(realpath -m "${SLUICE_DATA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}")

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root and there is no sudo; as root, run: $*"
  fi
}

# need_packages PACKAGE...: installs those that are missing. Where there is no apt, the compiler and CMake will say.
need_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "no apt here: taking for granted what Debian calls $*"
    return
  fi
  local installed package missing=()
  # shellcheck disable=SC2016 # the dollar signs are dpkg-query's
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
  for package in "$@"; do
    grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  echo "installing: ${missing[*]}"
  as_root apt-get update -q || echo "apt-get update failed; going on with the package lists that are here"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}
