#!/bin/bash
# tier: fast
# The pipes of the README on a tiny model, end to end; and what is left when a stage in the middle dies: the consumer fails with 65
# and there is no run.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny pipe
m=$t/s.gguf
set -o pipefail
# statuses NAME "0 65 ...": those of the pipe before
statuses() {
    local got="${PIPESTATUS[*]}"
    [ "$got" = "$2" ] && echo "ok pipe.$1" || { echo "FAIL pipe.$1: exit codes $got, expected $2"; cat "$t"/e.* >&2; }
}

# ---- as the README has it ----
peft-prep --split train "$t/qa.csv" 2>"$t/e.1" | peft-tok -m "$m" 2>"$t/e.2" |
    peft-train -m "$m" --precision f32 --lr 3e-2 --epochs 15 -o "$t/run" 2>"$t/e.3" | peft-log >"$t/log" 2>"$t/e.4"
statuses train "0 0 0 0"
is every_stage_counts [ "$(cat "$t"/e.[123] | grep -c 'in=[0-9]* out=[0-9]* dropped=[0-9]* reason=')" = 3 ]
is log_is_the_metrics_of_the_run sh -c "peft-log cat '$t/run/metrics.mpz' | cmp - '$t/log'"
peft-prep --split test "$t/qa.csv" 2>"$t/e.1" | peft-tok -m "$m" 2>"$t/e.2" |
    peft-eval -m "$m" -a "$t/run/adapter" --precision f32 --max-new-tokens 16 --json >"$t/scores" 2>"$t/e.3"
statuses eval "0 0 0"
is eval_rows [ "$(json 'j["rows"] == 4 and j["loss"] < 2' "$t/scores")" = True ]
is merge peft-merge -q -m "$m" -a "$t/run/adapter" -o "$t/merged" --verify "$t/te.mpz"
# the same from files, and from a file given as standard input, are the same bytes
peft-train -q -m "$m" --precision f32 --lr 3e-2 --epochs 15 -o "$t/files" "$t/tr.mpz" >/dev/null
is pipe_is_file same_tensors "$t/run/adapter" "$t/files/adapter"
peft-train -q -m "$m" --precision f32 --lr 3e-2 --epochs 15 -o "$t/stdin" <"$t/tr.mpz" >/dev/null
is stdin_is_file cmp "$t/stdin/adapter/adapter_model.safetensors" "$t/files/adapter/adapter_model.safetensors"
is trace_names_the_stages [ "$(peft-log trace --json "$t/run/metrics.mpz" | json '[s["tool"] for s in j["steps"]]' /dev/stdin)" = "['peft-prep', 'peft-tok', 'peft-train']" ]

# ---- a stage fails and says so ----
printf 'question,answer\na,b\nc,d,e\n' >"$t/ragged.csv"
peft-prep "$t/ragged.csv" 2>"$t/e.1" | peft-tok -m "$m" 2>"$t/e.2" | peft-train -m "$m" -o "$t/bad" 2>"$t/e.3" | peft-log >"$t/log" 2>"$t/e.4"
statuses first_fails "65 65 65 65"
is cause_is_named grep -q 'ragged.csv:3.*E-CSV-RAGGED' "$t/e.1"
is consequence_is_named [ "$(cat "$t"/e.[23] | grep -c 'E-STREAM-ABORT')" = 2 ]
is no_run [ ! -e "$t/bad" ]

# ---- a stage is killed without a word, with its input still open ----
as() { # as NAME COMMAND...: run it, its process id in $t/pid.NAME
    local name=$1
    shift
    sh -c 'echo $$ >"$1"; shift; exec "$@"' - "$t/pid.$name" "$@" 2>"$t/e.$name"
}
for stage in prep tok; do
    rm -rf "$t/bad" "$t"/pid.* "$t/fifo" "$t/train.rc" && mkfifo "$t/fifo"
    sleep 60 >"$t/fifo" & # holds the input open: more rows could come
    holder=$!
    as prep peft-prep "$t/fifo" | as tok peft-tok -m "$m" | { as train peft-train -m "$m" -o "$t/bad" >"$t/never.mpz"; echo $? >"$t/train.rc"; } &
    head -n 9 "$t/qa.csv" >"$t/fifo"
    until [ -s "$t/pid.prep" ] && [ -s "$t/pid.tok" ]; do sleep 0.05; done
    sleep 0.3
    kill -9 "$(cat "$t/pid.$stage")"
    # the others see it at once, while the input is still open
    for _ in $(seq 100); do [ -s "$t/train.rc" ] && break; sleep 0.1; done
    is "killed_$stage" [ "$(cat "$t/train.rc")" = 65 ]
    is "killed_${stage}_told" grep -q 'E-STREAM-CUT' "$t/e.$([ $stage = prep ] && echo tok || echo train)"
    is "killed_${stage}_nothing_written" [ ! -e "$t/bad" -a ! -s "$t/never.mpz" ]
    kill "$holder" 2>/dev/null
    wait 2>/dev/null
done
