#!/bin/bash
# tier: tsan
# What starts threads, in a build with the thread sanitizer: training in every mode, an interrupted one too, evaluation, merging with its
# verification, tokenizing, preparing. A race is exit 99.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny tsan
for p in parallel relay; do
    [ -x "$PEFT_BUILD/tests/unit/$p" ] && is "unit_$p" "$PEFT_BUILD/tests/unit/$p"
done
train() { peft-train -q -m "$t/s.gguf" -e "$t/te.mpz" -o "$t/$1" --max-steps 3 --save-steps 2 --threads 4 --eval-max-new-tokens 4 "${@:2}" "$t/tr.mpz"; }
is train train run --lora-dropout 0.1 --precision f32 --accumulate 2
is train_bf16_nf4 train run2 --precision bf16 --quantize nf4 --gradient-checkpointing --target-modules all-linear
is train_ia3 train run3 --method ia3 --precision f32
terminated() {
    peft-train -q -m "$t/s.gguf" -o "$t/run4" --max-steps 100000 --threads 4 --precision f32 "$t/tr.mpz" >/dev/null 2>"$t/err" &
    sleep 2
    kill -TERM $!
    wait $!
    [ $? = 75 ]
}
is terminated terminated
is eval peft-eval -q -m "$t/s.gguf" -a "$t/run/adapter" --metrics em,f1,bleu,rouge,ppl --max-new-tokens 4 --threads 4 --json "$t/te.mpz"
is merge peft-merge -q -m "$t/s.gguf" -a "$t/run/adapter" -o "$t/hf" --verify "$t/te.mpz" --threads 4
for i in $(seq 400); do echo "what does Lily see on day $i,ball number $i"; done >>"$t/qa.csv"
is prep peft-prep -q -o "$t/many.mpz" --threads 4 "$t/qa.csv"
is tok peft-tok -q -m "$t/s.gguf" -o "$t/many_tok.mpz" --threads 4 "$t/many.mpz"
