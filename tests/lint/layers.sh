#!/bin/bash
# tier: lint
# Who may include whom (CONTRIBUTING.md), read off the #include lines.
set -u
cd "$(dirname "$0")/../.." || exit 70
order='base stream format token model data peft merge eval train'
bad=0
say() {
    echo "$1" >&2
    bad=$((bad + 1))
}
may() { # may FROM TO: may a file in libcommon/FROM include libcommon/TO?
    [ "$1" = "$2" ] && return 0
    [ "$2" = base ] && return 0
    [ "$1" = sink ] && { [ "$2" = stream ]; return; }
    local d seen=
    for d in $order; do
        [ "$d" = "$1" ] && break
        [ "$d" = "$2" ] && seen=1
    done
    [ -n "$seen" ] && [[ " $order " == *" $1 "* ]]
}
while IFS=: read -r file line text; do
    inc=$(sed -E 's/^ *# *include *["<]([^">]*)[">].*/\1/' <<<"$text")
    at=$file:$line
    case $file in
    kernels/*)
        case $inc in
        kernels/*) ;;
        libcommon/* | tools/* | tests/*) say "$at: kernels/ includes only kernels/: $inc" ;;
        esac ;;
    libcommon/*)
        from=$(cut -d/ -f2 <<<"$file")
        case $inc in
        libcommon/*) to=$(cut -d/ -f2 <<<"$inc") && { may "$from" "$to" || say "$at: $from/ does not include $to/: $inc"; } ;;
        tools/* | tests/*) say "$at: libcommon/ does not include $inc" ;;
        esac ;;
    tools/*)
        case $inc in kernels/*) say "$at: tools/ does not include kernels/: $inc" ;; esac ;;
    esac
    case $file:$inc in
    kernels/*.cu:* | kernels/*.cuh:*) ;;
    *:cuda* | *:cublas* | *:cudnn* | *:nccl*) say "$at: only kernels/*.cu and *.cuh see CUDA: $inc" ;;
    esac
    # a name in quotes is spelled from the root
    [[ $text =~ \" ]] && [ ! -f "$inc" ] && say "$at: \"$inc\" is not spelled from the root"
done < <(grep -nE '^ *# *include' kernels/*.[chu]* libcommon/*/*.[ch] tools/*.c 2>/dev/null)

# Own header first.
for c in kernels/*.c libcommon/*/*.c; do
    h=${c%.*}.h
    [ -f "$h" ] || continue
    first=$(grep -m 1 -E '^ *# *include' "$c")
    [[ $first == *"\"$h\""* || $first == *"\"${c%.*}_internal.h\""* ]] || say "$c: includes $h, its own header, not first"
done

# Each third-party library has one wrapper file; jansson may be used wherever JSON is handled.
for lib in zstd.h msgpack.h csv.h libfyaml.h utf8proc.h openssl/ zlib.h pcre2.h curl/ sqlite3.h; do
    files=$(grep -lE "^ *# *include *<$lib" kernels/* libcommon/*/* tools/* 2>/dev/null)
    [ "$(wc -w <<<"$files")" -le 1 ] || say "<$lib> is included by more than one file: $(tr '\n' ' ' <<<"$files")"
done

# libcommon and kernels leave printing on stdout and exiting to others.
grep -nE '(^|[^a-z_])(exit|printf|puts|putchar) *\(' kernels/*.c libcommon/*/*.c | grep -vE '^libcommon/base/(tool|mem|msg|opt[a-z_]*)\.c:' |
    grep -vE '^\S+ *(/\*| \*)' >"${TMPDIR:-/tmp}/layers.$$" && while read -r l; do say "$l"; done <"${TMPDIR:-/tmp}/layers.$$"
rm -f "${TMPDIR:-/tmp}/layers.$$"

# File names are unique above the kernels (those are named after ops), so that a name says which file is meant.
twice=$(find libcommon tools -name '*.[ch]' -printf '%f\n' | sort | uniq -d | tr '\n' ' ')
[ -z "$twice" ] || say "file names that occur twice: $twice"

if [ $bad -eq 0 ]; then echo "ok layers"; else echo "FAIL layers: $bad"; fi
