#!/bin/bash
# run.sh SECONDS BINARY...: run each libFuzzer harness for SECONDS over its corpus, one on each core; ok and FAIL lines, then a count.
# The corpus tests/fuzz/corpus/<name>/ and the dictionary tests/fuzz/corpus/<name>.dict are optional. The tree is not written
# to; a crashing input is kept in build/fuzz/crashes/ and its way to be repeated is printed.
set -u
cd "$(dirname "$0")/../.." || exit 70
# libfyaml 0.7.12 loses a buffer of some quoted scalars: a leak of the library, not of what is tested here.
export LSAN_OPTIONS=suppressions=$PWD/tests/fuzz/lsan.supp:print_suppressions=0
export ASAN_OPTIONS=exitcode=99:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
one() { # one SECONDS BINARY: its lines, at once
    local name=${2##*/} dict=tests/fuzz/corpus/${2##*/}.dict
    export TMPDIR=$tmp/$name.files # of harnesses whose parser reads files
    mkdir -p "$tmp/$name" "$TMPDIR" build/fuzz/crashes
    [ -d "tests/fuzz/corpus/$name" ] && cp -r "tests/fuzz/corpus/$name/." "$tmp/$name/"
    # close_fd_mask: what the parsers say on stderr of each input is not kept
    local args=(-max_total_time="$1" -rss_limit_mb=512 -timeout=5 -print_final_stats=1 -close_fd_mask=2 -artifact_prefix="build/fuzz/crashes/$name-")
    [ -f "$dict" ] && args+=(-dict="$dict")
    if "$2" "${args[@]}" "$tmp/$name" >"$tmp/$name.log" 2>&1; then
        echo "ok fuzz/$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$tmp/$name.log") runs in $1 s"
    else
        echo "FAIL fuzz/$name: $(grep -m 1 -E 'ERROR|SUMMARY' "$tmp/$name.log" || echo "exit code not 0")"$'\n'"$(tail -n 30 "$tmp/$name.log" | sed 's/^/    | /')"
    fi
}
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
export tmp
export -f one
seconds=$1
shift
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -I{} bash -c "one $seconds {}" | tee "$tmp/all"
pass=$(grep -c '^ok ' "$tmp/all")
echo "$pass passed, $(($# - pass)) failed"
[ "$pass" -eq $# ]
