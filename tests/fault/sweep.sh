#!/bin/bash
# tier: fault
# Every tool in every form under faults (tests/fault/sweep.c): failing allocations, failing calls, limits, full disks, kill -9, signals. One of
# FAULT_EVERY points is tried, from FAULT_SEED on; FAULT_KINDS picks kinds. `sweep.sh quick` (the fast tier, sweep_quick.sh) takes few points of a few commands.
set -u
cd "$(dirname "$0")/../.." || exit 70
every=${FAULT_EVERY:-1} seed=${FAULT_SEED:-$((RANDOM % 1000))} kinds=${FAULT_KINDS:-memory calls limits space kill signals}
[ "${1:-}" = quick ] && kinds='memory calls limits'
sweep=$PEFT_BUILD/tests/fault/sweep shim=$PEFT_BUILD/tests/fault/shim.so
[ -x "$sweep" ] || { echo "skip fault: tests/fault/sweep is not built (a sanitizer's build has none)"; exit 0; }
t=''
. tests/cli/tiny.sh
tiny fault
head -n 13 "$t/qa.csv" >"$t/few.csv" # header and twelve rows
peft-train -q -m "$t/s.gguf" -o "$t/run" --max-steps 2 --precision f32 "$t/tr.mpz" >/dev/null &&
    peft-merge -q -m "$t/s.gguf" -a "$t/run/adapter" -o "$t/hf" --dtype f32 && peft-prep -q -o "$t/few.mpz" "$t/few.csv" &&
    peft-tok -q -m "$t/hf" -o "$t/few_tok.mpz" "$t/few.mpz" && peft-log cat -q -o "$t/few.jsonl" "$t/few.mpz" || { echo "FAIL fault: cannot prepare"; exit 0; }
{ echo question,answer; seq 2000 | awk '{print "what is " $1 * $1 "," $1 * 7919 % 9973}'; } >"$t/big.csv"
peft-prep -q -o "$t/big.mpz" "$t/big.csv" && peft-log cat -q -o "$t/big.jsonl" "$t/big.mpz" || echo 'FAIL fault: cannot prepare'
printf 'seed: 7\ndataset:\n  path: %s\n' "$t/few.csv" >"$t/c.yaml"
# One line a command: its name, a tab, the command. Outputs lie in the directory that it runs in.
cat >"$t/commands" <<X
prep	peft-prep -q -f -o x.mpz $t/few.csv
tok	peft-tok -q -f -m $t/s.gguf -o x.mpz $t/few.mpz
train	peft-train -q --resume -m $t/s.gguf -o run --max-steps 3 --save-steps 1 --keep 1 --threads 1 --precision f32 $t/few_tok.mpz
merge_hf	peft-merge -q -f -m $t/s.gguf -a $t/run/adapter -o out --dtype f32 --threads 1
prep_split	peft-prep -q -f --split-to d -c $t/c.yaml
prep_pipe	peft-prep -q $t/few.csv
prep_jsonl	peft-prep -q -f --columns id,prompt,target --prompt {prompt} --target {target} -o x.mpz $t/few.jsonl
tok_hf	peft-tok -q -f -m $t/hf -o x.mpz $t/few.mpz
tok_encode	peft-tok -q --encode -m $t/s.gguf $t/few.csv
train_all	peft-train -q --resume -m $t/hf -e $t/te.mpz -o run --lora-dropout 0.1 --max-steps 2 --save-steps 1 --eval-steps 1 --eval-max-new-tokens 2 --metric eval_loss --threads 2 --precision bf16 --quantize nf4 $t/few_tok.mpz
merge_shards	peft-merge -q -f -m $t/hf -a $t/run/adapter -o out --dtype bf16 --max-shard-size 0.0003 --threads 1
merge_gguf	peft-merge -q -f -m $t/s.gguf -a $t/run/adapter -o out.gguf --dtype f32 --threads 1
merge_pt	peft-merge -q -f -m $t/s.gguf -a $t/run/adapter -o out.pt --dtype f32 --threads 1
merge_adapter	peft-merge -q -f -m $t/s.gguf -a $t/run/adapter -o out --adapter-only
eval	peft-eval -q -f -m $t/s.gguf -a $t/run/adapter --max-new-tokens 2 --threads 1 -o x.mpz $t/te.mpz
eval_json	peft-eval -q -m $t/hf --metrics em,f1,bleu,rouge,ppl --max-new-tokens 2 --threads 2 --json $t/te.mpz
log_cat	peft-log cat $t/few_tok.mpz
log_csv	peft-log csv -f -o x.csv $t/run/metrics.mpz
log_trace	peft-log trace $t/run/metrics.mpz
log_verify	peft-log verify $t/few_tok.mpz
X
[ "${1:-}" = quick ] && sed -i 4q "$t/commands"
mounts=(unshare -rm)
[[ " $kinds " != *' space '* ]] || "${mounts[@]}" mount -t tmpfs tmpfs "$t" 2>/dev/null || { echo "skip fault.space: mounting is not allowed here"; kinds=${kinds//space/}; }
for kind in $kinds; do
    [ "$kind" = space ] && in=${mounts[*]} || in=
    while IFS=$'\t' read -r name command; do
        [[ $kind$name != space@(prep|tok)* ]] || command=${command//few./big.} # outputs of more than a page
        printf '%s %s %s %s %s %s %s %s\0' "$in $sweep" "$kind" "$every" "$seed" "$shim" "$t/$kind.$name" "$name" "$command"
    done <"$t/commands"
done | xargs -0 -P "$(nproc)" -I{} sh -c "{}"
