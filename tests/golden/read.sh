#!/bin/bash
# tier: fast
# Streams that a released version wrote still read, to the same JSON lines, and verify.
set -u
err=$(mktemp) && trap 'rm -f "$err"' EXIT
cd "$(dirname "$0")" || exit 70
for f in v*/*.mpz; do
    if ! "$PEFT_BIN/peft-log" cat "$f" 2>"$err" | cmp -s - "${f%.mpz}.jsonl"; then echo "FAIL golden $f: reads to other lines: $(head -n 1 "$err")"
    elif ! "$PEFT_BIN/peft-log" verify "$f" >/dev/null 2>"$err"; then echo "FAIL golden $f: $(head -n 1 "$err")"
    else echo "ok golden $f"; fi
done
