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
if model=$(scripts/model.sh); then export PEFT_MODEL=$model; else echo "check.sh: warning: no model; its tests are skipped" >&2; fi
make -j"${JOBS:-$(nproc)}" "$([ $tier = asan ] && echo VARIANT=asan || echo VARIANT=release)" all unit
exec make --no-print-directory $goal
