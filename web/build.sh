#!/usr/bin/env bash
# Builds both wasm modules and assembles the npm package `dense-match` in web/dist/.
#
#   web/build.sh          needs Rust with the wasm32 target; the first time also the network, for
#                         wasm-bindgen's program (unless the right version is on PATH)
#   web/build.sh --check  the same, and fails when something is larger than it may be
#
# CARGO_TARGET_DIR is respected. Tools that are missing go to DENSECL_WEB_TOOLS (~/.cache/densecl-web).
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${DENSECL_WEB_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/densecl-web}
target=${CARGO_TARGET_DIR:-target}
dist=web/dist
export CARGO_INCREMENTAL=0

# The program and the crate must be of one version.
bindgen_version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
is_bindgen() { [ "$("$1" --version 2>/dev/null)" = "wasm-bindgen $bindgen_version" ]; }
if is_bindgen wasm-bindgen; then
    bindgen=wasm-bindgen
else
    bindgen=$tools/bin/wasm-bindgen
    if ! is_bindgen "$bindgen"; then
        echo "web/build.sh: installing wasm-bindgen $bindgen_version into $tools (once, some minutes)"
        # It runs for a second: quick to build counts for more than quick to run. Not --locked: its lock file
        # names versions that a mirror may not have.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=false \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo install wasm-bindgen-cli --version "=$bindgen_version" --quiet --root "$tools" --target-dir "$tools/target"
        rm -rf "$tools/target"
    fi
fi

mkdir -p "$dist"

# module NAME FEATURES-OF-THE-TARGET: web/dist/densecl_NAME.{js,wasm,d.ts}
module() {
    local name=$1 flags=$2
    local raw=$target/wasm32-unknown-unknown/web-$name/densecl_web.wasm made=$dist/densecl_$name.wasm
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$flags \
        cargo build --locked --target wasm32-unknown-unknown --profile "web-$name" \
        --package densecl-web --no-default-features --features "$name"
    if [ "$made" -nt "$raw" ] && [ "$made" -nt web/build.sh ]; then return; fi
    local out
    out=$(mktemp -d)
    "$bindgen" --target web --remove-name-section --remove-producers-section \
        --out-name "densecl_$name" --out-dir "$out" "$raw"
    # The size is known before the download ends, whatever the server's encoding: for the progress bar.
    printf '\n/** Length of the .wasm file in bytes. */\nexport const BYTES = %d;\n' \
        "$(stat -c %s "$out/densecl_${name}_bg.wasm")" >>"$out/densecl_$name.js"
    sed -i "s/densecl_${name}_bg\.wasm/densecl_$name.wasm/g" "$out/densecl_$name.js"
    mv "$out/densecl_$name.js" "$out/densecl_$name.d.ts" "$dist/"
    mv "$out/densecl_${name}_bg.wasm" "$made"
    rm -r "$out"
}
module cpu "-C target-feature=+simd128"
module gpu ""

# The package: web/js as it is, README and package.json on top, weights beside it.
copy() { cmp -s "$1" "$2" || cp "$1" "$2"; }
(cd web/js && find . -type f) | while read -r file; do
    mkdir -p "$dist/$(dirname "$file")"
    copy "web/js/$file" "$dist/$file"
done
mkdir -p "$dist/weights"
cp -ru web/weights/. "$dist/weights/"
for file in LICENSE-MIT LICENSE-APACHE; do copy "$file" "$dist/$file"; done

[ "${1:-}" = --check ] || exit 0

# What a visitor pays. The budgets are in bytes, gzipped as a static host does it.
failed=0
budget() {
    local what=$1 most=$2 size=$3
    printf '%-34s %9d of %9d bytes\n' "$what" "$size" "$most"
    [ "$size" -le "$most" ] || { echo "web/build.sh: $what is over its budget" >&2; failed=1; }
}
gzipped() { cat "$@" | gzip -9 | wc -c; }
budget "CPU module, gzipped" 450000 "$(gzipped $dist/densecl_cpu.js $dist/densecl_cpu.wasm)"
budget "GPU module, gzipped" 3000000 "$(gzipped $dist/densecl_gpu.js $dist/densecl_gpu.wasm)"
budget "the element's JavaScript, gzipped" 15000 \
    "$(find web/js -name '*.js' -print0 | sort -z | xargs -0 cat | gzip -9 | wc -c)"
budget "largest file" $((25 * 1024 * 1024 - 1)) "$(find $dist -type f -printf '%s\n' | sort -n | tail -1)"
exit "$failed"
