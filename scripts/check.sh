#!/bin/bash
# check.sh TIER: set-up and the tests of a tier (fast, long, asan). The last line is "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
tier=${1:-fast}
case $tier in
fast) goal=check-fast ;;
long) goal=check-slow ;;
asan) goal=check-asan ;;
*) echo "check.sh: error: no tier is called '$tier' (fast, long, asan)" >&2; exit 64 ;;
esac
scripts/deps.sh build model test
[ -f config.mk ] || ./configure
# Without a network the tests that need the model print that they skip.
if model=$(scripts/model.sh); then export PEFT_TEST_MODEL=$model; else echo "check.sh: warning: no model; its tests are skipped" >&2; fi
variant=release
[ "$tier" = asan ] && variant=asan
make -j"${JOBS:-$(nproc)}" VARIANT=$variant all unit
# make says "Error 1" after a red run; the closing line has to be the last one.
log=$(mktemp) && trap 'rm -f "$log"' EXIT
rc=0
make --no-print-directory "$goal" 2>&1 | tee "$log" || rc=$?
[ $rc -eq 0 ] || grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1
exit $rc
