#!/bin/bash
# run.sh TIER BUILD: run the tests of a tier (fast, long, fault, planted, tsan, gpu, lint, bench) and close with "N passed, N failed, N skipped".
# A test is a program under BUILD/tests/{unit,kernels,methods} (tier fast; those named gpu_*: tier gpu) or a script tests/*/*.sh
# whose second line reads "# tier: NAME"; tier long includes fast and fault. Each prints "ok NAME", "FAIL NAME: why" or
# "skip NAME: why" lines. Printing none of them, or exiting non-zero without a FAIL line, counts as one failure.
set -u
tier=$1 build=$2
cd "$(dirname "$0")/.." || exit 70
export PEFT_BIN=$PWD/$build/bin PEFT_BUILD=$PWD/$build PEFT_TIER=$tier
export PEFT_DATA=${PEFT_DATA:-$PWD/../shared/data}
unset MAKEFLAGS MFLAGS MAKELEVEL CUDA # of the make that runs this: tests start makes of their own
export LC_ALL=C.UTF-8 ASAN_OPTIONS=exitcode=99:detect_leaks=${PEFT_LEAKS:-1} UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=exitcode=99
out=$build/tests/log && mkdir -p "$out" && : >"$out/all"
in_tier() { # in_tier NAME: does a test of tier NAME run now?
    case $tier:$1 in fast:fast | fast:lint | long:fast | long:lint | long:long | long:fault | fault:fault | planted:planted | tsan:tsan | gpu:gpu | lint:lint | bench:bench) return 0 ;; *) return 1 ;; esac
}
one() { # one NAME COMMAND...
    local name=$1 log rc t0=$SECONDS
    shift
    log=$out/$(echo "$name" | tr / _).log
    timeout "${PEFT_TEST_TIMEOUT:-1200}" "$@" >"$log" 2>"$log.err" </dev/null
    rc=$?
    grep -E '^(ok|FAIL|skip) ' "$log" >"$log.lines"
    if ! grep -qE '^(ok|FAIL|skip) ' "$log" || { [ $rc -ne 0 ] && ! grep -q '^FAIL ' "$log"; }; then
        echo "FAIL $name: exit $rc" >>"$log.lines"
    fi
    if grep -q '^FAIL ' "$log.lines"; then
        grep '^FAIL ' "$log.lines"
        tail -n 25 "$log.err" | sed 's/^/    | /'
    fi
    grep '^skip ' "$log.lines"
    cat "$log.lines" >>"$out/all"
    printf '%s: %s ok (%d s)\n' "$name" "$(grep -c '^ok ' "$log.lines")" $((SECONDS - t0))
}
for p in "$build"/tests/{unit,kernels,methods}/*; do
    [ -f "$p" ] && [ -x "$p" ] || continue
    case ${p##*/} in gpu_*) t=gpu ;; long_*) t=long ;; *) t=fast ;; esac
    in_tier $t && one "${p#"$build"/tests/}" "$p"
done
for s in tests/*/*.sh; do
    t=$(sed -n '2s/^# tier: //p' "$s")
    [ -n "$t" ] && in_tier "$t" && one "${s#tests/}" bash "$s"
done
pass=$(grep -c '^ok ' "$out/all") fail=$(grep -c '^FAIL ' "$out/all") skip=$(grep -c '^skip ' "$out/all")
echo "$pass passed, $fail failed, $skip skipped"
# Nothing passed is a failure, but for the tier of machines that this may not be one of.
[ "$fail" -eq 0 ] && { [ "$pass" -gt 0 ] || { [ "$tier" = gpu ] && [ "$skip" -gt 0 ]; }; }
