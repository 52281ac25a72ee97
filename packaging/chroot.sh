#!/usr/bin/env bash
# Tries on a bare Debian what people do on theirs, without a container engine. Needs root and debootstrap.
#
#   packaging/chroot.sh container FOLDER    does what Containerfile says, then matches two pictures as its user
#   packaging/chroot.sh readme FOLDER       runs the two commands of README with nothing but Rust and a C compiler
#
#   --toolchain DIR        use this Rust (a folder with bin/cargo and bin/rustc) instead of rustup's
#   --certificates FILE    trust these authorities, where the network replaces certificates
#   --build-arg NAME=VALUE as of podman build
#
# FOLDER must be empty or absent; it stays, to look into. The sources are the files of this working tree that git does
# not ignore. Mounts are made in a mount namespace of this process, so that they disappear with it, however it ends, and
# removing FOLDER never reaches /dev.
set -euo pipefail

fail() { echo "packaging/chroot.sh: $*" >&2 && exit 1; }
usage() { sed -n '4,9s/^# \{0,1\}//p' "$0" >&2 && exit 2; }

mode=${1:-}
case $mode in container | readme) ;; *) usage ;; esac
[ $# -ge 2 ] || usage
folder=$2
toolchain='' certificates=''
declare -A arguments=()
given=("$@")
shift 2
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --toolchain) toolchain=$(realpath "$2") ;;
        --certificates) certificates=$(realpath "$2") ;;
        --build-arg) arguments[${2%%=*}]=${2#*=} ;;
        *) usage ;;
    esac
    shift 2
done

[ "$(id -u)" = 0 ] || fail "must run as root, to make the system and to enter it"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
[ -z "$toolchain" ] || [ -x "$toolchain/bin/cargo" ] || fail "$toolchain has no bin/cargo"
[ -z "$certificates" ] || [ -f "$certificates" ] || fail "$certificates is no file"

if [ -z "${DENSECL_OWN_MOUNTS:-}" ]; then
    if [ -e "$folder" ] && [ -n "$(ls -A "$folder")" ]; then fail "$folder is not empty"; fi
    DENSECL_OWN_MOUNTS=1 exec unshare --mount --propagation private "$0" "${given[@]}"
fi

mkdir -p "$folder"
folder=$(realpath "$folder")
cd "$(dirname "$0")/.."
step() { printf '\n=== %s (%s s)\n' "$1" "$SECONDS"; }

# What a command in the current root sees. ENV adds to it; ARG is seen by RUN alone.
root='' workdir=/ user=root
environment=() build_arguments=()

# inside COMMAND...: runs a command in the current root and working directory.
inside() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    chroot --userspec="$user" "$root" /usr/bin/env -i LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/cargo/bin:/usr/local/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo CARGO_TERM_COLOR=never \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        ${certificates:+SSL_CERT_FILE=/etc/certificates.pem CARGO_HTTP_CAINFO=/etc/certificates.pem} \
        "${environment[@]}" /bin/sh -c 'HOME=$(getent passwd "$(id -u)" | cut -d: -f6) && export HOME && cd "$0" && exec "$@"' \
        "$workdir" "$@"
}

# new_root NAME: makes a root with nothing but Debian's base, and enters it.
new_root() {
    root=$folder/$1 workdir=/ user=root environment=() build_arguments=()
    if [ ! -d "$folder/debian" ]; then
        step "Debian bookworm"
        debootstrap --variant=minbase bookworm "$folder/debian" >"$folder/debootstrap.log" ||
            fail "debootstrap failed: see $folder/debootstrap.log"
    fi
    cp -a "$folder/debian" "$root"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    [ -z "$certificates" ] || cp "$certificates" "$root/etc/certificates.pem"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
}

# add_rust: what the official image `rust:VERSION-slim-bookworm` adds to Debian: Rust and a C compiler.
add_rust() {
    step "Rust and a C compiler"
    inside apt-get update -qq
    inside apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev >/dev/null
    if [ -n "$toolchain" ]; then
        mkdir -p "$root/usr/local/toolchain"
        mount --bind -o ro "$toolchain" "$root/usr/local/toolchain"
        return
    fi
    local address sum
    address=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init
    { curl -fsSL -o "$root/usr/local/rustup-init" "$address" && sum=$(curl -fsSL "$address.sha256"); } ||
        fail "rustup cannot be fetched; a Rust of this machine can be used with --toolchain"
    # The name that follows the sum in the file is that on the server.
    echo "${sum:0:64}  $root/usr/local/rustup-init" | sha256sum -c --quiet || fail "rustup arrived damaged; try again"
    chmod +x "$root/usr/local/rustup-init"
    # The toolchain is the one that rust-toolchain.toml names, installed at the first use of cargo.
    inside /usr/local/rustup-init -y --quiet --no-modify-path --profile minimal --default-toolchain none
}

# copy_sources DIR: copies the working tree into a folder of the current root.
copy_sources() {
    mkdir -p "$root$1"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from - --ignore-failed-read 2>/dev/null | tar --extract -C "$root$1" --no-same-owner
}

# words JSON: the words of an array such as ["densecl"].
words() { tr -d '[]",' <<<"$1"; }

declare -A stages=()
entrypoint=''
copy() {
    local from='' target=${*: -1}
    [[ $target = /* ]] || target=$workdir/$target
    case $1 in --from=*) from=${stages[${1#--from=}]} && shift ;; esac
    set -- "${@:1:$#-1}"
    if [ -z "$from" ] && [ "$*" = . ]; then
        copy_sources "$target"
    elif [ -n "$from" ]; then
        install -D "$from$1" "$root$target"
    else
        mkdir -p "$root$target" && cp "$@" "$root$target"
    fi
}

# instruction NAME REST: one instruction of a Containerfile.
instruction() {
    local name=$1 rest=$2 parts
    read -ra parts <<<"$rest"
    case $name in
        FROM)
            new_root "image-${#stages[@]}"
            stages[${parts[2]:-last}]=$root
            case ${parts[0]} in
                */rust:*-slim-bookworm) add_rust ;;
                */debian:bookworm-slim) ;;
                *) fail "the image ${parts[0]} is not known here" ;;
            esac
            ;;
        ARG) build_arguments+=("${rest%%=*}=${arguments[${rest%%=*}]-${rest#*=}}") ;;
        ENV) environment+=("$rest") ;;
        WORKDIR) workdir=$rest && mkdir -p "$root$rest" ;;
        USER) user=$rest ;;
        COPY) copy "${parts[@]}" ;;
        RUN) step "$rest" && inside env "${build_arguments[@]}" /bin/sh -c "$rest" ;;
        ENTRYPOINT) entrypoint=$(words "$rest") ;;
        CMD) ;;
        *) fail "the instruction $name of Containerfile is not known here" ;;
    esac
}

container() {
    local line whole=''
    while read -r line; do
        # A line that ends in a backslash goes on in the next one.
        whole+=${line%\\}
        [[ $line != *\\ ]] || continue
        case $whole in
            '' | '#'*) ;;
            *) instruction "${whole%% *}" "${whole#* }" ;;
        esac
        whole=''
    done <Containerfile
    step "the image's program as its user"
    inside "$entrypoint" --version
    inside "$entrypoint" devices
    inside "$entrypoint" synth --count 1 --seed 28 --out scenes
    inside "$entrypoint" match scenes/images/00000_a.png scenes/images/00000_b.png
    inside id -un
}

readme() {
    local commands command
    mapfile -t commands < <(sed -n '/^## Two commands/,/^## /s/^\(cargo [^#]*[^# ]\) *#.*/\1/p' README.md)
    [ ${#commands[@]} = 2 ] || fail "README.md has not two commands, but: ${commands[*]}"
    new_root readme
    add_rust
    workdir=/src
    copy_sources "$workdir"
    for command in "${commands[@]}"; do
        step "$command"
        inside /bin/sh -c "$command"
    done
}

"$mode"
step "done; $folder can be removed"
