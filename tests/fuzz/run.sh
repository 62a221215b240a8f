#!/bin/bash
# run.sh SECONDS BINARY...: run each libFuzzer harness for SECONDS over its corpus; ok and FAIL lines, then a count.
# The corpus tests/fuzz/corpus/<name>/ and the dictionary tests/fuzz/corpus/<name>.dict are optional. The tree is not written
# to; a crashing input is kept in build/fuzz/crashes/ and its way to be repeated is printed.
set -u
seconds=$1
shift
cd "$(dirname "$0")/../.." || exit 70
# libfyaml 0.7.12 loses a buffer of some quoted scalars: a leak of the library, not of what is tested here.
export LSAN_OPTIONS=suppressions=$PWD/tests/fuzz/lsan.supp:print_suppressions=0
export ASAN_OPTIONS=exitcode=99:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
pass=0 fail=0
for bin; do
    name=${bin##*/} dict=tests/fuzz/corpus/${bin##*/}.dict
    mkdir -p "$tmp/$name" build/fuzz/crashes
    [ -d "tests/fuzz/corpus/$name" ] && cp -r "tests/fuzz/corpus/$name/." "$tmp/$name/"
    args=(-max_total_time="$seconds" -rss_limit_mb=512 -timeout=5 -print_final_stats=1 -artifact_prefix="build/fuzz/crashes/$name-")
    [ -f "$dict" ] && args+=(-dict="$dict")
    if "$bin" "${args[@]}" "$tmp/$name" >"$tmp/$name.log" 2>&1; then
        pass=$((pass + 1))
        echo "ok fuzz/$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$tmp/$name.log") runs in $seconds s"
    else
        fail=$((fail + 1))
        echo "FAIL fuzz/$name: $(grep -m 1 -E 'ERROR|SUMMARY' "$tmp/$name.log" || echo "exit code not 0")"
        tail -n 30 "$tmp/$name.log" | sed 's/^/    | /'
    fi
done
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
