#!/bin/bash
# tier: fast
# pipelines/qa.mk with the real tools on a tiny model: what a finished run directory, a changed input or option and an interrupted
# training mean to the tools themselves. (Which stage depends on what: recipe.sh, with stand-ins.)
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny recipe_real
mkdir "$t/bin"
# In front of each tool: notes its name, its output, --resume, and its process; then becomes it.
cat >"$t/bin/any" <<'X'
#!/bin/bash
me=${0##*/} given=" $* " out=
for ((i = 1; i < $#; i++)); do [ "${!i}" = -o ] && j=$((i + 1)) && out=${!j}; done
if [ -n "$out" ] && [[ $given != *' --print-config '* ]]; then
    [[ $given == *' --resume '* ]] && how=' --resume' || how=
    echo "$me ${out#"$OUT"/}$how" >>"$LOG"
    echo $$ >"$LOG.$me"
fi
exec "$PEFT_BIN/$me" "$@"
X
chmod +x "$t/bin/any"
for tool in prep tok train eval merge log; do ln "$t/bin/any" "$t/bin/peft-$tool"; done
export LOG=$t/log OUT=$t/runs
mk() { # mk [VARIABLE=VALUE]...: make; the stages with an output of their own that ran, sorted, on one line
    : >"$LOG"
    run make -f pipelines/qa.mk BIN="$t/bin/" OUT="$OUT" CSV="$t/facts.csv" MODEL="$t/s.gguf" EVAL='--metrics em --max-new-tokens 2' "$@"
    ran=$(sort "$LOG" | tr '\n' ';')
}
ran_as() { # ran_as NAME EXPECTED-RC EXPECTED-STAGES
    if [ "$rc" = "$2" ] && [ "$ran" = "$3" ]; then echo "ok recipe_real.$1"; else
        echo "FAIL recipe_real.$1: exit $rc, ran: $ran"
        tail -n 5 "$t/err" >&2
        echo "expected: $3" >&2
    fi
}
cp "$t/qa.csv" "$t/facts.csv"
short='--epochs 1 --logging-steps 1'
long='--epochs 300 --save-steps 2 --logging-steps 100 --eval-metrics none --metric eval_loss'
prep='peft-prep data/dev.mpz;peft-prep data/rest.mpz;peft-prep data/test.mpz;peft-prep data/train.mpz;'
tok='peft-tok tokens/dev.mpz;peft-tok tokens/test.mpz;peft-tok tokens/train.mpz;'
trained='peft-eval answers.mpz;peft-merge merged;'
mk TRAIN="$short"; ran_as everything_runs_at_first 0 "$trained$prep${tok}peft-train run;"
is table grep -qE '^em +[0-9.]+ +[0-9.]+$' "$t/out"
mk TRAIN="$short"; ran_as nothing_runs_twice 0 ''
touch "$t/facts.csv"
mk TRAIN="$short"; ran_as a_touched_csv_reruns_all 0 "$trained$prep${tok}peft-train run;"
mk TRAIN="$short --lr 1e-3"; ran_as training_options_rerun_what_follows 0 "${trained}peft-train run;"

# ---- interrupted: asked to stop once it has a checkpoint of this run (-f has removed those of the run before) ----
stop_training() {
    local pid
    for _ in $(seq 1000); do
        sleep 0.01
        pid=$(cat "$LOG.peft-train" 2>/dev/null) && [ -e "$OUT/run/checkpoints/step-000002" ] && kill -TERM "$pid" && return
    done
}
rm -f "$LOG.peft-train"
rm -r "$OUT/run/checkpoints"
stop_training &
stopper=$!
mk TRAIN="$long"; ran_as an_interrupted_training_stops_make 2 'peft-train run;'
wait "$stopper"
step=$(find "$OUT/run/checkpoints" -name 'step-*' | sort | tail -n 1)
is leaves_a_checkpoint_and_no_stamp [ -n "$step" -a ! -e "$OUT/run.done" ]
mk TRAIN="$long"; ran_as is_resumed 0 "${trained}peft-train run --resume;"
is and_its_adapter_is_whole [ -s "$OUT/run/adapter/adapter_model.safetensors" -a -e "$OUT/run.done" ]
mk TRAIN="$long"; ran_as and_stays_done 0 ''
