#!/usr/bin/env bash
# Prints what CHANGELOG.md says of a version: packaging/notes.sh v1.2.3
# Fails if Cargo.toml or the npm package has another version, or the changelog none of this name.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1#v}
{ grep -qx "version = \"$version\"" Cargo.toml && grep -q "^  \"version\": \"$version\",$" web/js/package.json; } || {
    echo "packaging/notes.sh: the version in Cargo.toml or web/js/package.json is not $version" >&2
    exit 1
}
notes=$(awk -v title="## [$version]" '/^## /{ inside = index($0, title) == 1; next } inside' CHANGELOG.md)
[ -n "$notes" ] || {
    echo "packaging/notes.sh: CHANGELOG.md has no section \"## [$version]\"" >&2
    exit 1
}
printf '%s\n' "$notes"
