#!/usr/bin/env bash
# Builds the wasm modules and assembles the npm package `dense-match` in web/dist/.
#
#   web/build.sh            builds all modules. Needs Rust with the wasm32 target; the first time it downloads
#                           the wasm-bindgen program, unless the right version is on PATH
#   web/build.sh --check    also bundles the JavaScript (needs npm), and fails when a file is larger than its
#                           budget
#   web/build.sh cpu        builds only this module (or gpu, train_cpu, train_gpu); those for a GPU take long to compile
#   web/build.sh --supervised FILE
#                           also adds this network, as the page's choice "supervised". FILE is one that the program
#                           reads, such as torchvision's ResNet-50, 47 MB at half precision; only visitors who choose it
#                           fetch it. It stays in web/dist/ until its folder, weights/supervised, is removed
#
# CARGO_TARGET_DIR is respected. Missing tools are installed into DENSECL_WEB_TOOLS (~/.cache/densecl-web).
set -euo pipefail

only='' check=no supervised=''
while [ $# -gt 0 ]; do
    case $1 in
    cpu | gpu | train_cpu | train_gpu) only=$1 ;;
    --check) check=yes ;;
    --supervised)
        supervised=$(realpath -e -- "${2-}" 2>/dev/null) ||
            { echo "web/build.sh: --supervised needs a file with weights; there is no file '${2-}'" >&2 && exit 2; }
        shift
        ;;
    *)
        echo "usage: web/build.sh [--check] [--supervised FILE] [cpu | gpu | train_cpu | train_gpu]" >&2
        exit 2
        ;;
    esac
    shift
done
cd "$(dirname "$0")/.."

tools=${DENSECL_WEB_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/densecl-web}
target=${CARGO_TARGET_DIR:-target}
dist=web/dist
export CARGO_INCREMENTAL=0

# The wasm-bindgen program must have the same version as the crate.
bindgen_version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
is_bindgen() { [ "$("$1" --version 2>/dev/null)" = "wasm-bindgen $bindgen_version" ]; }
if is_bindgen wasm-bindgen; then
    bindgen=wasm-bindgen
else
    bindgen=$tools/bin/wasm-bindgen
    if ! is_bindgen "$bindgen"; then
        echo "web/build.sh: installing wasm-bindgen $bindgen_version into $tools (once, some minutes)"
        # The program runs for a second only, so it is built quickly instead of optimised. Without --locked,
        # because its lock file may name versions that a registry mirror does not have.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=false \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo install wasm-bindgen-cli --version "=$bindgen_version" --quiet --root "$tools" --target-dir "$tools/target"
        rm -rf "$tools/target"
    fi
fi

mkdir -p "$dist"

# Removes comments, which are a third of the JavaScript that wasm-bindgen writes. Only lines that consist of a comment
# are removed, so that no string changes.
without_comments() {
    sed -E -e '/^\s*\/\*.*\*\/\s*$/d' -e '/^\s*\/\*([^*]|\*[^/])*$/,/\*\/\s*$/d' -e '/^\s*\/\//d' -e '/^\s*$/d' -e 's/^\s+//' "$1"
}

# module NAME PROFILE FEATURES TARGET-FEATURES: makes densecl_NAME.{js,wasm,d.ts}, unless another one was asked for
module() {
    local name=$1 profile=$2 features=$3 flags=$4
    [ "${only:-$name}" = "$name" ] || return 0
    local raw=$target/wasm32-unknown-unknown/$profile/densecl_web.wasm made=$dist/densecl_$name.wasm
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$flags \
        cargo build --locked --target wasm32-unknown-unknown --profile "$profile" \
        --package densecl-web --no-default-features --features "$features"
    if [ "$made" -nt "$raw" ] && [ "$made" -nt web/build.sh ]; then return; fi
    local out
    out=$(mktemp -d)
    "$bindgen" --target web --remove-name-section --remove-producers-section \
        --out-name "densecl_$name" --out-dir "$out" "$raw"
    sed -i "s/densecl_${name}_bg\.wasm/densecl_$name.wasm/g" "$out/densecl_$name.js"
    # The progress bar needs the length, which a server that compresses does not send.
    printf '\nexport const BYTES = %d;\n' "$(stat -c %s "$out/densecl_${name}_bg.wasm")" >>"$out/densecl_$name.js"
    without_comments "$out/densecl_$name.js" >"$dist/densecl_$name.js"
    mv "$out/densecl_$name.d.ts" "$dist/"
    mv "$out/densecl_${name}_bg.wasm" "$made"
    rm -r "$out"
}
simd="-C target-feature=+simd128"
module cpu web-cpu cpu,match "$simd"
module gpu web gpu,match ""
module train_cpu web-train-cpu cpu,train "$simd"
module train_gpu web-train-gpu gpu,train ""

# put TARGET SOURCE: copies a file, but does not touch an equal one, so that watchers of the folder are not triggered.
put() {
    mkdir -p "$(dirname "$1")"
    cmp -s "$2" "$1" || cp "$2" "$1"
}
# The package contains types, README, package.json and weights. Its JavaScript is bundled if esbuild is installed
# (`npm ci --prefix web`, once); otherwise the modules are copied as they are, which works the same.
if [ "$check" = yes ] && [ ! -d web/node_modules/esbuild ]; then
    npm ci --prefix web --no-audit --no-fund --loglevel=error
fi
bundled=$([ -d web/node_modules/esbuild ] && echo yes || echo no)
(cd web/js && find . -type f) | while read -r file; do
    case $bundled/$file in
        yes/./dense-match.js | yes/./engine.js | yes/./draw.js | yes/./worker.js) continue ;; # written by bundle.mjs
        yes/./live-weights.js | yes/./training.js | yes/./training-worker.js) continue ;; # these, too
        yes/*.js) rm -f "$dist/$file" && continue ;; # part of a bundle; an earlier build may have copied it
    esac
    put "$dist/$file" "web/js/$file"
done
[ "$bundled" = no ] || node web/bundle.mjs "$dist"
# A bundle of weights is a manifest and shards. If the weights are also in the repository as one file, the shards are
# cut from it here.
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
        # Status 141 is SIGPIPE: head exits before tail has written the rest.
        tail -c +$((at + 1)) "$whole" | head -c $shard_bytes >"$shards/$shard" || [ $? = 141 ]
        put "$dist/weights/$name/$shard" "$shards/$shard"
    done
    rm -r "$shards"
done
if [ -n "$supervised" ]; then
    rm -rf "$dist/weights/supervised"
    cargo run --release --locked -- \
        export "$supervised" --to web --out "$dist/weights/supervised"
fi
# The page asks for this list instead of for files that may not exist.
list=$(mktemp -d)
names=$(cd "$dist/weights" && printf '"%s",' */manifest.json | sed 's/\/manifest\.json//g')
echo "[${names%,}]" >"$list/index.json"
put "$dist/weights/index.json" "$list/index.json"
rm -r "$list"
for file in LICENSE-MIT LICENSE-APACHE; do put "$dist/$file" "$file"; done

[ "$check" = yes ] || exit 0

# The budgets of what a visitor downloads, in bytes, gzipped as by a static host.
failed=0
budget() {
    local what=$1 most=$2 size=$3
    printf '%-44s %9d of at most %9d bytes\n' "$what" "$size" "$most"
    [ "$size" -le "$most" ] || { echo "web/build.sh: $what: over budget" >&2 && failed=1; }
}
gzipped() { for file in "$@"; do gzip -9 -c "$dist/$file"; done | wc -c; }
module_budget() {
    local name=$1 what=$2 most=$3
    [ "${only:-$name}" = "$name" ] || return 0
    budget "$what, gzipped" "$most" "$(gzipped "densecl_$name.js" "densecl_$name.wasm")"
}
module_budget cpu "CPU module" 500000
module_budget gpu "GPU module" 3000000
# A visitor who does not train fetches neither of these.
module_budget train_cpu "training module for the CPU" 1000000
module_budget train_gpu "training module for a GPU" 3500000
budget "the element's JavaScript, gzipped" 15500 "$(gzipped dense-match.js engine.js)"
# A visit to the demo page without its modes "Train" and "Watch a run", whose files are in web/page/train.
visit=$(for file in index.html web/page/*.js web/page/*.css; do gzip -9 -c "$file"; done | wc -c)
visit=$((visit + $(gzipped dense-match.js engine.js draw.js worker.js)))
budget "HTML, CSS and JavaScript of a visit, gzipped" 58000 "$visit"
budget "largest file" $((25 * 1024 * 1024 - 1)) "$(find $dist -type f -printf '%s\n' | sort -n | tail -1)"
exit "$failed"
