#!/usr/bin/env bash
# Packs a built program for people who do not compile: the program, licences, README and completions for shells.
#
#   packaging/archive.sh PROGRAM TARGET FOLDER    writes FOLDER/densecl-VERSION-TARGET.tar.gz, for Windows .zip
#
# PROGRAM must run on this machine, because it writes the completions itself. Needs Cargo and Python 3.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
program=$(realpath "$1") target=$2
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
[ "$("$program" --version)" = "densecl $version" ] || {
    echo "packaging/archive.sh: $program is not version $version of Cargo.toml" >&2
    exit 1
}

name=densecl-$version-$target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/$name/completions"
cp "$program" LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md "$folder/$name/"
PYTHONUTF8=1 "${PYTHON:-python3}" packaging/licences.py "$target" >"$folder/$name/LICENCES-OF-CRATES.txt"
# The names under which each shell looks for completions of `densecl`.
"$program" completions bash >"$folder/$name/completions/densecl.bash"
"$program" completions zsh >"$folder/$name/completions/_densecl"
"$program" completions fish >"$folder/$name/completions/densecl.fish"
"$program" completions powershell >"$folder/$name/completions/densecl.ps1"

cd "$folder"
case $target in
    *windows*) rm -f "$out/$name.zip" && 7z a -bso0 "$out/$name.zip" "$name" ;;
    *) tar -czf "$out/$name.tar.gz" "$name" ;;
esac
ls -l "$out"
