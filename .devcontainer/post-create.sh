#!/usr/bin/env bash
# Installs what .ci/run would install at its first run, without the tools that it compiles (cargo-deny, trunk).
set -euo pipefail
cd "$(dirname "$0")/.."
# The lines of .ci/run that consist of `apt_packages` and names.
read -rd '' -a packages < <(sed -n 's/^ *apt_packages \([a-z0-9 -]*\)$/\1/p' .ci/run) || true
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
rustup show active-toolchain >/dev/null # installs that of rust-toolchain.toml
for folder in .ci web tests/browser; do npm ci --prefix "$folder" --no-audit --no-fund; done
cargo fetch --locked
