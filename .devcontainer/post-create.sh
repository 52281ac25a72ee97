#!/usr/bin/env bash
# Installs what .ci/run would install at its first run, without the tools that it compiles (cargo-deny, trunk).
set -euo pipefail
cd "$(dirname "$0")/.."
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    mesa-vulkan-drivers libvulkan1 chromium fonts-dejavu-core mpich libmpich-dev libclang-dev
rustup show active-toolchain >/dev/null # installs that of rust-toolchain.toml
for folder in .ci web tests/browser; do npm ci --prefix "$folder" --no-audit --no-fund; done
cargo fetch --locked
