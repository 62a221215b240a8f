#!/bin/bash
# tier: fast
# stories260K's greedy text is the one its own documentation prints.
set -u
D=$PEFT_DATA/models/stories260K
[ -r "$D/stories260K.bin" ] || { echo "skip stories260k: no ../shared/data"; exit 0; }
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
python3 tests/parity/stories260k_gguf.py "$D/stories260K.bin" "$D/tok512.bin" "$t/s.gguf" || exit 1
awk '/-t 0.0$/ {on = 1; next} /^```/ {on = 0} on' "$D/stories260K.md" >"$t/want"
# run.c makes 256 steps from BOS; its first piece begins with the space that it does not print
"$PEFT_BIN/peft-eval" -m "$t/s.gguf" --precision f32 --prompt '' --max-new-tokens 256 2>"$t/err" | sed '1s/^ //' >"$t/got"
n=$(($(wc -c <"$t/want") - 1))
if [ "$n" -gt 500 ] && cmp -s <(head -c "$n" "$t/want") <(head -c "$n" "$t/got"); then echo "ok stories260k.greedy"
else echo "FAIL stories260k.greedy: text differs"; diff "$t/want" "$t/got" >&2; cat "$t/err" >&2; fi
