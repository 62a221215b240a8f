#!/bin/bash
# tier: fault
# A loss of power at any moment of a tool's work leaves its output as it was or whole, never torn, and the next run makes it right
# (tests/fault/power_loss.py: which states are tried). FAULT_EVERY: the command is given again in one of so many states.
set -u
cd "$(dirname "$0")/../.." || exit 70
shim=$PEFT_BUILD/tests/fault/shim.so
[ -e "$shim" ] || { echo "skip power_loss: tests/fault/shim.so is not built (a sanitizer's build has none)"; exit 0; }
t=''
. tests/cli/tiny.sh
tiny power_loss
peft-train -q -m "$t/s.gguf" -o "$t/run" --max-steps 2 --precision f32 "$t/tr.mpz" >/dev/null || { echo "FAIL power_loss: cannot prepare"; exit 0; }
merge="peft-merge -q -f -m $t/s.gguf -a $t/run/adapter --threads 1"
# NAME, command, and what made the old output: with tabs between
while IFS=$'\t' read -r name command old; do printf '%s\0' "$name" "$command" "$old"; done <<X | xargs -0 -n 3 -P "$(nproc)" python3 tests/fault/power_loss.py "$shim" "${FAULT_EVERY:-1}" "$t"
prep	peft-prep -q -o x.mpz $t/qa.csv
prep_over	peft-prep -q -f -o x.mpz $t/qa.csv	peft-prep -q -o x.mpz --split test $t/qa.csv
prep_split	peft-prep -q -f --split-to d $t/qa.csv
prep_split_over	peft-prep -q -f --split-to d $t/qa.csv	peft-prep -q --seed 3 --split-to d $t/qa.csv
tok_over	peft-tok -q -f -m $t/s.gguf -o x.mpz $t/train.mpz	peft-tok -q -m $t/s.gguf -o x.mpz $t/test.mpz
merge_hf	$merge -o out --dtype f32
merge_over	$merge -o out --dtype f32 --max-shard-size 0.0005	$merge -o out --dtype bf16
merge_gguf	$merge -o out.gguf --dtype f32	$merge -o out.gguf --dtype f16
merge_pt	$merge -o out.pt --dtype f32	$merge -o out.pt --dtype bf16
merge_adapter	$merge -o out --adapter-only
eval	peft-eval -q -f -m $t/s.gguf -a $t/run/adapter --max-new-tokens 1 --threads 1 -o x.mpz $t/te.mpz	peft-eval -q -m $t/s.gguf --max-new-tokens 1 --threads 1 -o x.mpz $t/te.mpz
log_csv	peft-log csv -f -o x.csv $t/run/metrics.mpz	peft-log cat -o x.csv $t/run/metrics.mpz
train	peft-train -q --resume -m $t/s.gguf -e $t/te.mpz -o run --max-steps 4 --save-steps 1 --eval-steps 2 --eval-max-new-tokens 1 --keep 2 --threads 1 --precision f32 --lora-dropout 0.1 $t/tr.mpz
X
