#!/usr/bin/env bash
# A first look at a GPU: densecl-bench gpu on a bare machine without network.
#
#   bench/gpu.sh pack FILE      packs the built programs (cargo build --release) into FILE, an archive of at most 64 MiB
#   bench/gpu.sh run FILE OUT   unpacks FILE and runs everything; report.json and report.md come to the folder OUT
#
# `run` passes further arguments on to densecl-bench gpu. The archive holds the programs without symbols, the Vulkan loader
# of this machine, for machines that have a driver but no loader, and the PyTorch side of the comparison, which is used
# where a Python with torch is there.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2; }

pack() {
    local target=${CARGO_TARGET_DIR:-target}/release folder
    folder=$(mktemp -d)
    for program in densecl densecl-bench; do
        [ -x "$target/$program" ] || { echo "$target/$program is not there: cargo build --release" >&2 && exit 1; }
        strip -s -o "$folder/$program" "$target/$program"
    done
    cp bench/pytorch.py "$folder/"
    local loader
    loader=$(ldconfig -p | awk '/libvulkan\.so\.1 .*x86-64/ { print $NF; exit }')
    [ -z "$loader" ] || cp -L "$loader" "$folder/libvulkan.so.1"
    XZ_OPT='-6 -T0' tar -C "$folder" -cJf "$1" .
    rm -r "$folder"
    local bytes
    bytes=$(wc -c <"$1")
    echo "$1: $bytes bytes"
    [ "$bytes" -le $((64 * 1024 * 1024)) ] || { echo "bench/gpu.sh: more than 64 MiB" >&2 && exit 1; }
}

run() {
    local archive=$1 out=$2 folder
    shift 2
    folder=$(mktemp -d)
    tar -C "$folder" -xJf "$archive"
    # The machine's own loader is preferred; this one is found only where there is none.
    ldconfig -p | grep -q 'libvulkan\.so\.1' || export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # NVIDIA's driver may come without the file that tells the loader of it.
    if [ -z "${VK_DRIVER_FILES:-}" ] && ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 &&
        ldconfig -p | grep -q libGLX_nvidia.so.0; then
        printf '{"file_format_version":"1.0.0","ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3"}}' \
            >"$folder/nvidia_icd.json"
        export VK_DRIVER_FILES=$folder/nvidia_icd.json VK_ICD_FILENAMES=$folder/nvidia_icd.json
    fi
    export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$folder}
    local status=0
    "$folder/densecl-bench" gpu --out "$out" "$@" || status=$?
    rm -r "$folder"
    return "$status"
}

case ${1:-} in
    pack) [ $# = 2 ] || usage; pack "$2" ;;
    run) [ $# -ge 3 ] || usage; shift; run "$@" ;;
    *) usage ;;
esac
