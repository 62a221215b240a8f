#!/bin/sh
# deps.sh: install, by name, the Debian packages that are missing. Quiet when nothing is.
# usage: deps.sh [build] [model] [test] [clang]     (default: build model)
set -eu
build='gcc libc6-dev make libzstd-dev libmsgpack-dev libcsv-dev libjansson-dev libfyaml-dev libutf8proc-dev libssl-dev zlib1g-dev libpcre2-dev liblapack-dev libblas-dev'
model='python3-pip unzip ca-certificates'
test='mandoc groff-base shellcheck clang-format zstd jq python3-msgpack procps g++'
clang='clang libclang-rt-dev'
[ $# -gt 0 ] || set -- build model
want=
for set in "$@"; do
    case $set in
    build) want="$want $build" ;;
    model) want="$want $model" ;;
    test) want="$want $test" ;;
    clang) want="$want $clang" ;;
    *) echo "deps.sh: error: no set of packages is called '$set' (build, model, test, clang)" >&2; exit 64 ;;
    esac
done
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps.sh: warning: no apt here; these packages, or what your system calls them, are needed:$want" >&2
    exit 0
fi
# A command that is there from elsewhere (a toolchain in /usr/local) needs no package.
has() {
    case $1 in
    gcc | make | unzip | mandoc | shellcheck | clang-format | zstd | jq | clang) command -v "$1" >/dev/null && return 0 ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 && return 0 ;;
    esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
missing=
for p in $want; do has "$p" || missing="$missing $p"; done
[ -n "$missing" ] || exit 0
as=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "deps.sh: error: need root to install:$missing" >&2; exit 77; }
    as=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
install() { $as apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1; }
log=$(mktemp) && trap 'rm -f "$log"' EXIT
install || { $as apt-get update -q >>"$log" 2>&1 && install; } || {
    tail -n 20 "$log" >&2
    echo "deps.sh: error: could not install:$missing" >&2
    exit 69
}
