#!/bin/bash
# tier: bench
# The regression gate on a subset of the figures (half a minute): shares of the machine's limits against gate.tsv.
set -u
cd "$(dirname "$0")/../.." || exit 70
build=${PEFT_BUILD:?tests/run.sh sets it} build=${build#"$PWD"/}
if out=$(tests/bench/run.sh "$build" gate 2>&1); then
    echo "$out" >&2
    echo "ok bench/gate ($(grep -c '(gate ' <<<"$out") figures)"
else
    echo "$out" >&2
    grep '^below the gate: ' <<<"$out" | sed 's/^below the gate: /FAIL bench\/gate: /' | grep . || echo "FAIL bench/gate: $(tail -n 1 <<<"$out")"
    exit 1
fi
