# Sourced by the scripts: fetches Fashion-MNIST from Debian's package, unpacked into the cache folder, nothing installed.
# shellcheck shell=bash
# shellcheck source=scripts/lib/install.sh
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"

data=$data_dir/fashion-mnist
package=dataset-fashion-mnist

# Bytes of the files once unpacked: 60,000 images to train on and 10,000 to test, 28x28, a header before them.
sizes="47040016 train-images-idx3-ubyte.gz
60008 train-labels-idx1-ubyte.gz
7840016 t10k-images-idx3-ubyte.gz
10008 t10k-labels-idx1-ubyte.gz"

# The files of the data set that a folder lacks or holds in another size, with the sizes found.
wrong_files() {
  local bytes name found
  while read -r bytes name; do
    found=$(gzip -lq "$1/$name" 2>/dev/null | awk '{print $2}') || true
    [[ $found == "$bytes" ]] || echo "$1/$name: ${found:-no} bytes, expected $bytes"
  done <<<"$sizes"
}

fetch_data() {
  [[ -n $(wrong_files "$data") ]] || return 0
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    die "no apt-get here; put the four files of Fashion-MNIST (Debian package $package) into $data"
  fi
  local download=$data_dir/download
  mkdir -p "$download" "$data_dir/unpacked"
  echo "downloading $package (31 MB) to $data_dir"
  [[ -n $(apt-cache show "$package" 2>/dev/null) ]] || as_root apt-get update -q
  # Checks the hash of a package that is there already and fetches only what is missing of it.
  (cd "$download" && apt-get -q -o APT::Sandbox::User=root download "$package")
  dpkg-deb -x "$download/$package"_*.deb "$data_dir/unpacked"
  local wrong
  wrong=$(wrong_files "$data_dir/unpacked/usr/share/datasets/fashion-mnist")
  if [[ -n $wrong ]]; then
    rm -rf "$download" "$data_dir/unpacked"
    die "$package holds other files than expected; removed it: $wrong"
  fi
  rm -rf "$data"
  mv "$data_dir/unpacked/usr/share/datasets/fashion-mnist" "$data"
  rm -rf "$download" "$data_dir/unpacked"
}
