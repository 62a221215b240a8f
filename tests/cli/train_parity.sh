#!/bin/bash
# tier: fast
# Whole training runs against transformers' Trainer (tests/parity/record_train.py): loss, rate and gradient norm of every step, the loss
# on the evaluation rows after every epoch, and the adapter at the end, for every schedule, with decay, clipping, accumulation, a last
# step of fewer rows, another order of rows, and dropout by its own masks.
set -u
cd "$(dirname "$0")/../.." || exit 70
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
export PATH=$PEFT_BIN:$PATH
d=tests/parity/train
for f in train test; do
    peft-prep -q --prompt '{question}' --target ' {answer}' "$d/$f.csv" | peft-tok -q -m $d/base -o "$t/$f.mpz" ||
        { echo "FAIL train_parity: cannot prepare"; exit 0; }
done
for c in "$d"/*/expect.json; do
    c=${c%/expect.json} name=$(basename "${c%/expect.json}")
    mapfile -t options < <(python3 -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))["options"]))' "$c/expect.json")
    if ! peft-train -q -m $d/base --init-adapter "$c/adapter" --force-base -e "$t/test.mpz" --eval-metrics none --logging-steps 1 --precision f32 --micro-tokens 48 --metric eval_loss \
        -o "$t/$name" "${options[@]}" "$t/train.mpz" >"$t/out" 2>"$t/err"; then
        echo "FAIL train_parity.$name: does not train"
        cat "$t/err" >&2
        continue
    fi
    if peft-log cat "$t/$name/metrics.mpz" | python3 tests/parity/train_compare.py "$c" "$t/$name/adapter/adapter_model.safetensors"; then
        echo "ok train_parity.$name"
    else
        echo "FAIL train_parity.$name: differs from what was recorded"
    fi
done
