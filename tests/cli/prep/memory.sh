#!/bin/bash
# tier: fast
# Memory does not grow with the input: a generated CSV (20 MB; 200 MB in the long tier), plain and while splitting.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
cd "$t" || exit 70
mb=20
[ "$PEFT_TIER" = long ] && mb=200
case $PEFT_BUILD in *asan* | *tsan*) echo "skip prep: memory: a sanitizer has its own"; exit 0 ;; esac
gen() { awk -v n=$((mb * 10000)) 'BEGIN { print "question,answer"; for (i = 0; i < n; i++) printf "What is number %d of the long list of generated questions?,\"It is %d, as always\"\n", i, i }'; }
for opt in "" "--split train"; do
    # shellcheck disable=SC2086
    gen | bash -c 'exec 3<&0; "$0" -q -o /dev/null "$@" <&3 & p=$!; peak=0; while kill -0 $p 2>/dev/null; do v=$(sed -n "s/^VmHWM:[[:space:]]*\([0-9]*\).*/\1/p" /proc/$p/status 2>/dev/null); [ -n "$v" ] && peak=$v; sleep 0.05; done; wait $p || echo failed; echo $peak' "$PEFT_BIN/peft-prep" $opt >peak
    kb=$(tail -n 1 peak)
    if ! grep -q failed peak && [ "$kb" -gt 0 ] && [ "$kb" -lt 65536 ]; then echo "ok prep: $mb MB $opt in $kb KiB"; else echo "FAIL prep: $mb MB $opt: $(tr '\n' ' ' <peak)"; fi
done
