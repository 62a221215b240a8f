#!/bin/bash
# tier: fast
# kill -9 of training at random times, each resumed until done: adapter, metrics and checkpoints must be those of a run that was never
# interrupted, byte for byte. PEFT_KILLS kills (20; 200 in the long tier), dropout, shuffle, accumulation, warm-up and evaluation on.
set -u
D=$PEFT_DATA/models/stories260K
[ -r "$D/stories260K.bin" ] || { echo "skip kill_train: no ../shared/data"; exit 0; }
[ "$PEFT_TIER" = long ] && def=200 || def=20
kills=${PEFT_KILLS:-$def} seed=${KILL_SEED:-$RANDOM}
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
python3 tests/parity/stories260k_gguf.py "$D/stories260K.bin" "$D/tok512.bin" "$t/s.gguf" || exit 1
{
    echo question,answer
    for i in $(seq 1 60); do echo "what does Lily see on day $i,ball number $((i * 7 % 13))"; done
} >"$t/qa.csv"
"$PEFT_BIN/peft-prep" -q --split-to "$t" "$t/qa.csv" && "$PEFT_BIN/peft-tok" -q -m "$t/s.gguf" -o "$t/tr.mpz" "$t/train.mpz" &&
    "$PEFT_BIN/peft-tok" -q -m "$t/s.gguf" -o "$t/te.mpz" "$t/test.mpz" || { echo "FAIL kill_train: cannot prepare"; exit 0; }
train() { # train RUN [OPTION]...
    local run=$1
    shift
    "$PEFT_BIN/peft-train" -q -m "$t/s.gguf" -e "$t/te.mpz" -o "$run" --lora-dropout 0.1 --batch-size 2 --accumulate 3 --epochs 6 \
        --lr 1e-3 --warmup-ratio 0.1 --weight-decay 0.01 --save-steps 3 --eval-steps 9 --logging-steps 2 --keep 3 --eval-max-new-tokens 4 \
        --metric eval_loss --precision f32 "$@" "$t/tr.mpz" >"$t/out.mpz"
}
# telemetry.mpz holds times, so it alone may differ
sums() { (cd "$1" && find . -type f ! -name '.*' ! -name telemetry.mpz | sort | xargs sha256sum); }
t0=$(date +%s%N)
# the same last name everywhere: the metrics stream's provenance has it
mkdir "$t/a" "$t/b"
train "$t/a/run" || { echo "FAIL kill_train: the uninterrupted run failed"; exit 0; }
ms=$((($(date +%s%N) - t0) / 1000000))
train "$t/b/run" --threads 1 && sums "$t/a/run" >"$t/want" && sums "$t/b/run" | cmp -s - "$t/want" && echo "ok kill_train.threads_do_not_matter" ||
    { echo "FAIL kill_train.threads_do_not_matter: runs differ"; diff "$t/want" <(sums "$t/b/run") >&2; }
RANDOM=$seed
done_kills=0 runs=0 bad=0
while [ "$done_kills" -lt "$kills" ]; do
    rm -rf "$t/run"
    runs=$((runs + 1))
    for chain in $(seq 1 $((RANDOM % 6 + 1))); do
        train "$t/run" --resume 2>>"$t/err" &
        p=$!
        sleep "$(awk -v r="$RANDOM" -v ms="$ms" 'BEGIN {printf "%.3f", r / 32768 * ms / 1000}')"
        # kill -9 reaches the tool itself: the shell function runs it in a subshell
        pkill -9 -P "$p" 2>/dev/null || { wait "$p"; break; } # it was faster
        done_kills=$((done_kills + 1))
        wait "$p" 2>/dev/null
        [ "$done_kills" -ge "$kills" ] && break
    done
    train "$t/run" --resume 2>>"$t/err" || { echo "resume failed after chain of $chain" >&2; tail -n 3 "$t/err" >&2; bad=$((bad + 1)); continue; }
    sums "$t/run" | cmp -s - "$t/want" || { diff "$t/want" <(sums "$t/run") >&2; bad=$((bad + 1)); }
done
if [ "$bad" -eq 0 ]; then echo "ok kill_train.resume ($done_kills kills in $runs runs of $ms ms, seed $seed: all identical)"
else echo "FAIL kill_train.resume: $bad of $runs runs differ ($done_kills kills, seed $seed)"; fi
# a signal that asks: saved, exit 75, and the rest is the same again
rm -rf "$t/run"
train "$t/run" 2>"$t/err" & p=$!
sleep "$(awk -v ms="$ms" 'BEGIN {printf "%.3f", ms / 3000}')"
pkill -TERM -P "$p"
wait "$p"
rc=$?
train "$t/run" --resume 2>>"$t/err"
if { [ $rc -eq 75 ] || [ $rc -eq 0 ]; } && sums "$t/run" | cmp -s - "$t/want"; then echo "ok kill_train.sigterm (exit $rc)"
else echo "FAIL kill_train.sigterm: exit $rc"; cat "$t/err" >&2; fi
# a checkpoint under another name is none of that step
rm -rf "$t/run/manifest.json" "$t/run/adapter"
cp -r "$(find "$t/run/checkpoints" -mindepth 1 -maxdepth 1 | sort | tail -n 1)" "$t/run/checkpoints/step-999999"
if train "$t/run" --resume 2>"$t/err" && grep -q 'another step than its name.*passed over' "$t/err" && rm -r "$t/run/checkpoints/step-999999" &&
    sums "$t/run" | cmp -s - "$t/want"; then echo "ok kill_train.renamed_checkpoint"
else echo "FAIL kill_train.renamed_checkpoint"; cat "$t/err" >&2; fi
# the newest checkpoint damaged: the one before is taken, and the result is the same
rm -rf "$t/run"
train "$t/run" 2>/dev/null
rm -rf "$t/run/manifest.json" "$t/run/adapter"
newest=$(find "$t/run/checkpoints" -mindepth 1 -maxdepth 1 | sort | tail -n 1)
printf x | dd of="$newest/state.safetensors" bs=1 seek=1000 conv=notrunc status=none
if train "$t/run" --resume 2>"$t/err" && grep -q 'passed over' "$t/err" && sums "$t/run" | cmp -s - "$t/want"; then echo "ok kill_train.damaged_newest"
else echo "FAIL kill_train.damaged_newest"; cat "$t/err" >&2; fi
