#!/usr/bin/env bash
# Builds both wasm modules and assembles the npm package `dense-match` in web/dist/.
#
#   web/build.sh            both modules; needs Rust with the wasm32 target, and the first time also the
#                           network, for wasm-bindgen's program (unless the right version is on PATH)
#   web/build.sh --check    the same with bundled JavaScript (needs npm), and fails when something is
#                           larger than it may be
#   web/build.sh cpu        that module alone (or gpu); the GPU's takes long to compile
#
# CARGO_TARGET_DIR is respected. Tools that are missing go to DENSECL_WEB_TOOLS (~/.cache/densecl-web).
set -euo pipefail
cd "$(dirname "$0")/.."

only='' check=no
for argument in "$@"; do
    case $argument in
    cpu | gpu) only=$argument ;;
    --check) check=yes ;;
    *) echo "usage: web/build.sh [--check] [cpu | gpu]" >&2 && exit 2 ;;
    esac
done

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

# The comments in what wasm-bindgen writes are a third of it. Only lines that are nothing but comment go, so no string
# is touched.
without_comments() {
    sed -E -e '/^\s*\/\*.*\*\/\s*$/d' -e '/^\s*\/\*([^*]|\*[^/])*$/,/\*\/\s*$/d' -e '/^\s*\/\//d' -e '/^\s*$/d' -e 's/^\s+//' "$1"
}

# module NAME PROFILE TARGET-FEATURES: makes densecl_NAME.{js,wasm,d.ts}
module() {
    local name=$1 profile=$2 flags=$3
    local raw=$target/wasm32-unknown-unknown/$profile/densecl_web.wasm made=$dist/densecl_$name.wasm
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$flags \
        cargo build --locked --target wasm32-unknown-unknown --profile "$profile" \
        --package densecl-web --no-default-features --features "$name"
    if [ "$made" -nt "$raw" ] && [ "$made" -nt web/build.sh ]; then return; fi
    local out
    out=$(mktemp -d)
    "$bindgen" --target web --remove-name-section --remove-producers-section \
        --out-name "densecl_$name" --out-dir "$out" "$raw"
    sed -i "s/densecl_${name}_bg\.wasm/densecl_$name.wasm/g" "$out/densecl_$name.js"
    # For the progress bar: with a compressing server the length is not known otherwise.
    printf '\nexport const BYTES = %d;\n' "$(stat -c %s "$out/densecl_${name}_bg.wasm")" >>"$out/densecl_$name.js"
    without_comments "$out/densecl_$name.js" >"$dist/densecl_$name.js"
    mv "$out/densecl_$name.d.ts" "$dist/"
    mv "$out/densecl_${name}_bg.wasm" "$made"
    rm -r "$out"
}
[ "$only" = gpu ] || module cpu web-cpu "-C target-feature=+simd128"
[ "$only" = cpu ] || module gpu web ""

# A file that is the same stays as it is: what watches the folder need not wake up.
put() {
    mkdir -p "$(dirname "$1")"
    cmp -s "$2" "$1" || cp "$2" "$1"
}
# The package: types, README and package.json, weights beside them. Its JavaScript is bundled where esbuild is
# installed (`npm ci --prefix web`, once); elsewhere the modules go there as they are and do the same.
if [ "$check" = yes ] && [ ! -d web/node_modules/esbuild ]; then
    npm ci --prefix web --no-audit --no-fund --loglevel=error
fi
bundled=$([ -d web/node_modules/esbuild ] && echo yes || echo no)
(cd web/js && find . -type f) | while read -r file; do
    case $bundled/$file in
        yes/./dense-match.js | yes/./engine.js | yes/./draw.js | yes/./worker.js) continue ;; # bundle.mjs writes them
        yes/*.js) rm -f "$dist/$file" && continue ;; # part of a bundle; an earlier build may have left it
    esac
    put "$dist/$file" "web/js/$file"
done
[ "$bundled" = no ] || node web/bundle.mjs "$dist"
# A bundle is a manifest and shards. Those of weights that also ship as one file are cut from it here.
shard_bytes=$((8 * 1024 * 1024)) # as in core/src/weights/bundle.rs
for bundle in web/weights/*/; do
    for file in "$bundle"*; do put "$dist/${file#web/}" "$file"; done
    name=$(basename "$bundle")
    whole=weights/$name.safetensors
    [ -f "$whole" ] || continue
    shards=$(mktemp -d)
    bytes=$(wc -c <"$whole")
    for ((at = 0, index = 0; at < bytes; at += shard_bytes, index++)); do
        shard=$(printf '%s-%03d.bin' "$name" "$index")
        tail -c +$((at + 1)) "$whole" | head -c $shard_bytes >"$shards/$shard" || [ $? = 141 ] # head ends first
        put "$dist/weights/$name/$shard" "$shards/$shard"
    done
    rm -r "$shards"
done
for file in LICENSE-MIT LICENSE-APACHE; do put "$dist/$file" "$file"; done

[ "$check" = yes ] || exit 0

# What a visitor pays, in bytes, gzipped as a static host does it.
failed=0
budget() {
    local what=$1 most=$2 size=$3
    printf '%-36s %9d of at most %9d bytes\n' "$what" "$size" "$most"
    [ "$size" -le "$most" ] || { echo "web/build.sh: $what: over budget" >&2 && failed=1; }
}
gzipped() { for file in "$@"; do gzip -9 -c "$dist/$file"; done | wc -c; }
[ "$only" = gpu ] || budget "CPU module, gzipped" 500000 "$(gzipped densecl_cpu.js densecl_cpu.wasm)"
[ "$only" = cpu ] || budget "GPU module, gzipped" 3000000 "$(gzipped densecl_gpu.js densecl_gpu.wasm)"
budget "the element's JavaScript, gzipped" 15000 "$(gzipped dense-match.js engine.js)"
budget "largest file" $((25 * 1024 * 1024 - 1)) "$(find $dist -type f -printf '%s\n' | sort -n | tail -1)"
exit "$failed"
