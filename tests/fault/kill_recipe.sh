#!/bin/bash
# tier: fault
# kill -9 of the whole recipe pipelines/qa.mk, make and its tools at once, at random moments, some again while it is caught up: make once more
# ends in the bytes of one that was never killed, and leaves nothing else. PEFT_RECIPE_KILLS kills (3; 30 in the long tier), KILL_SEED.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny kill_recipe
[ "$PEFT_TIER" = long ] && def=30 || def=3
kills=${PEFT_RECIPE_KILLS:-$def} seed=${KILL_SEED:-$RANDOM}
mk() {
    exec setsid make -f pipelines/qa.mk BIN="$PEFT_BIN/" OUT="$t/runs" CSV="$t/qa.csv" MODEL="$t/s.gguf" EVAL='--metrics em,ppl --max-new-tokens 2 --threads 1' \
        TRAIN='--epochs 4 --save-steps 2 --logging-steps 1 --lora-dropout 0.1 --eval-metrics none --metric eval_loss --threads 1' \
        >>"$t/out" 2>>"$t/err" </dev/null
}
# the times of the run and of its stages are what differs
made() { (cd "$t/runs" && find . -type f ! -name telemetry.mpz ! -path './time/*' | sort | xargs sha256sum); }
t0=$(date +%s%N)
(mk) || { echo 'FAIL kill_recipe: it fails without a kill'; tail -n 5 "$t/err" >&2; exit 0; }
ms=$((($(date +%s%N) - t0) / 1000000))
made >"$t/want"
RANDOM=$seed
done_kills=0 runs=0 bad=0
while [ "$done_kills" -lt "$kills" ]; do
    rm -rf "$t/runs"
    runs=$((runs + 1))
    for _ in $(seq $((RANDOM % 3 + 1))); do
        (mk) &
        p=$!
        sleep "$(awk -v r="$RANDOM" -v ms="$ms" 'BEGIN {printf "%.3f", r / 32768 * ms / 1000}')"
        kill -9 -- "-$p" 2>/dev/null && done_kills=$((done_kills + 1)) # the group; none: it was faster
        wait "$p" 2>/dev/null
        [ "$done_kills" -ge "$kills" ] && break
    done
    if ! (mk); then
        echo "make again failed" >&2
        tail -n 5 "$t/err" >&2
        bad=$((bad + 1))
    elif ! made | cmp -s - "$t/want"; then
        diff "$t/want" <(made) >&2
        bad=$((bad + 1))
    fi
done
if [ "$bad" -eq 0 ]; then echo "ok kill_recipe ($done_kills kills in $runs runs of $ms ms, seed $seed: all identical)"
else echo "FAIL kill_recipe: $bad of $runs runs differ ($done_kills kills, seed $seed)"; fi
