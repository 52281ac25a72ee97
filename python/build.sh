#!/usr/bin/env bash
# Makes the wheel of a program that was built already: python/build.sh [PROGRAM [FOLDER]]
# Without arguments from target/release/densecl into dist/. PYTHON names another Python than python3; it needs pip.
set -euo pipefail
DENSECL_PROGRAM=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/densecl}")
export DENSECL_PROGRAM
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir "${2:-dist}" "$(realpath "$(dirname "$0")")"
