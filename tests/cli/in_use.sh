#!/bin/bash
# tier: fast
# One process at a time in a run directory: the others end with "in use by pid", whatever they were asked to do, and death of any kind
# lets go of it. A run that waits for its tokens holds the directory as long as the test likes.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny in_use
train() { peft-train -q -m "$t/s.gguf" --threads 1 --batch-size 4 --epochs 1 --eval-metrics none --precision f32 "$@"; }
until_locked() { for _ in $(seq 500); do [ -s "$1/.lock" ] && return; sleep 0.01; done; }

mkfifo "$t/fifo"
mkdir "$t/run"
train -o "$t/run" <"$t/fifo" >"$t/first.out" 2>"$t/first.err" &
exec 9>"$t/fifo" # it waits until this is closed
until_locked "$t/run"
owner=$(cat "$t/run/.lock")
is owner_is_named [ -d "/proc/$owner" ]
for how in '' -f --resume; do
    refused "in_use$how" 73 E-EXISTS "run: in use by pid $owner" peft-train -m "$t/s.gguf" $how -o "$t/run" "$t/tr.mpz"
done
cat "$t/tr.mpz" >&9
exec 9>&-
wait $!
is first_is_whole [ $? = 0 -a -s "$t/run/adapter/adapter_model.safetensors" -a ! -e "$t/run/.lock" ]
is first_metrics peft-log -q verify "$t/run/metrics.mpz"

# killed while it had the directory: the next one takes it over
rm -r "$t/run" && mkdir "$t/run"
peft-train -q -m "$t/s.gguf" -o "$t/run" <"$t/fifo" 2>/dev/null & # no function: the process itself is killed
exec 9>"$t/fifo"
until_locked "$t/run"
kill -9 $!
exec 9>&-
wait $! 2>/dev/null
is killed_leaves_its_lock [ -e "$t/run/.lock" ]
run train -o "$t/run" "$t/tr.mpz"
is killed_lets_go [ "$rc" = 0 -a ! -e "$t/run/.lock" -a -e "$t/run/manifest.json" ]

# a run that another has made and finished while this one was getting ready
(train -f -o "$t/late" <"$t/fifo" >/dev/null 2>"$t/late.err"; echo $? >"$t/late.rc") &
exec 9>"$t/fifo"
sleep 0.1
run train --seed 7 -o "$t/late" "$t/tr.mpz"
want=$(sums "$t/late")
cat "$t/tr.mpz" >&9
exec 9>&-
wait
is late_is_refused grep -q 'late: came into being meanwhile \[E-EXISTS\]' "$t/late.err"
is late_exit [ "$(cat "$t/late.rc")" = 73 ]
is late_changes_nothing [ "$(sums "$t/late")" = "$want" ]

# two at once: one wins, its run is whole, the other is told
for how in '' -f --resume; do
    rm -rf "$t/two"
    train $how --seed 42 -o "$t/two" "$t/tr.mpz" >/dev/null 2>"$t/err1" & a=$!
    train $how --seed 7 -o "$t/two" "$t/tr.mpz" >/dev/null 2>"$t/err2" & b=$!
    wait $a; rca=$?
    wait $b; rcb=$?
    is "two$how" [ "$rca $rcb" = '0 73' -o "$rca $rcb" = '73 0' ]
    is "two$how.told" grep -qE '(in use by pid [0-9]+|came into being meanwhile) \[E-EXISTS\]' "$t/err1" "$t/err2"
    is "two$how.whole" peft-log -q verify "$t/two/metrics.mpz"
    is "two$how.one_seed" [ "$(sed -n 's/^seed: \([0-9]*\).*/\1/p' "$t/two/config.yaml")" = "$(json 'j["seed"]' "$t/two/manifest.json")" ]
done

# the two halves of a split belong together, so their directory has one writer as well
mkdir "$t/halves"
exec 8<>"$t/halves/.lock"
flock 8 && echo 4711 >&8
refused split_to 73 E-EXISTS 'halves: in use by pid 4711' peft-prep -f --split-to "$t/halves" "$t/qa.csv"
exec 8>&-
is split_to_takes_it_over peft-prep -q -f --split-to "$t/halves" "$t/qa.csv"
is split_to_leaves_no_lock [ ! -e "$t/halves/.lock" ]
