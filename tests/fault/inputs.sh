#!/bin/bash
# tier: fast
# Inputs that change while a tool works: a model that is cut is an error with its name, and of one that is written to or replaced
# nothing is made.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny inputs
# train SAVE_STEPS THREADS COMMAND...: train on a copy of the model, $t/m.gguf; in the midst of it run COMMAND.
train() {
    local save=$1 threads=$2 pid
    shift 2
    rm -rf "$t/m.gguf" "$t/new"
    cp "$t/s.gguf" "$t/m.gguf"
    peft-train -q -m "$t/m.gguf" -o "$t/new" --max-steps 100000 --save-steps "$save" --logging-steps 1 --keep 1 --threads "$threads" \
        --precision f32 --scheduler constant "$t/tr.mpz" >"$t/out" 2>"$t/err" </dev/null &
    pid=$!
    for _ in $(seq 500); do
        [ -s "$t/new/metrics.mpz" ] && break
        sleep 0.02
    done
    "$@"
    for _ in $(seq 1000); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.02
    done
    kill -9 "$pid" 2>/dev/null
    wait "$pid"
    rc=$?
}
# ended EXIT TEXT: with that exit, one message about the model, and no temporary
ended() {
    [ "$rc" = "$1" ] && [ "$(grep -c ' error: ' "$t/err")" = 1 ] && grep -q "m\.gguf.*$2" "$t/err" && [ -z "$(find "$t" -name '*.tmp-*')" ]
}
for threads in 1 2; do # without a checkpoint it is the next look into the file that finds it
    train 100000 "$threads" truncate -s 8192 "$t/m.gguf"
    is "cut_$threads" ended 74 'E-IO'
done
overwrite() { dd if=/dev/zero of="$t/m.gguf" bs=1k seek=500 count=4 conv=notrunc status=none; }
train 1 1 overwrite
is written_to ended 65 'changed.*E-MISMATCH'
replace() { cp "$t/s.gguf" "$t/m2.gguf" && mv "$t/m2.gguf" "$t/m.gguf"; }
train 1 1 replace
is replaced ended 65 'replaced.*E-MISMATCH'
