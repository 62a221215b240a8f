#!/bin/bash
# tier: fast
# What a person sees: no control character of any name or text, lines that fit, one writer of a pipe's progress, Ctrl-C, streams that are being
# written.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny terminal
root=$PWD
cd "$t" || exit 70
tty() { python3 "$root/tests/cli/terminal.py" "$@"; }
plain() { ! LC_ALL=C grep -qP '\x1b(?!\[K)|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]' "$1"; }

# ---- control characters: ESC, C1 and marks of direction in texts and names ----
esc=$'\x1b[31m\xc2\x9b1m\xe2\x80\xae'
printf 'question,answer\n"a%s","b\nc"\n' "$esc" >in.csv
name="x$esc.mpz"
peft-prep -q -o "$name" in.csv
for sub in tty cat csv trace verify; do
    tty 200 "peft-log $sub '$name'" >screen 2>&1
    is "escapes_$sub" plain screen
    is "shows_$sub" [ -s screen ]
done
is csv_keeps_line_breaks [ "$(tty 200 "peft-log csv '$name'" | wc -l)" = 4 ]
is csv_in_a_file_is_as_it_was grep -q $'\xe2\x80\xae' <(peft-log csv "$name")
is cat_reads_back [ "$(peft-log cat "$name" | python3 -c 'import json, sys; print(json.loads(sys.stdin.read())["prompt"])')" = "Q: a$esc"$'\n'"A:" ]
head -c -1 "$name" >"cut$esc.mpz"
peft-log verify "cut$esc.mpz" >screen 2>&1
is escapes_of_errors plain screen
peft-log --errors json verify "cut$esc.mpz" >screen 2>&1
is escapes_of_json_errors plain screen
{ printf 'question,answer\na,b\n'; printf 'c,"d'; } >"bad$esc.csv"
peft-prep "bad$esc.csv" 2>err | peft-log verify >screen 2>&1
is escapes_of_abort plain screen
is escapes_of_prep plain err

# ---- width ----
is lines_fit [ "$(tty 60 "peft-log tty $t/tr.mpz" | tr -d '\r' | awk '{ if (length($0) > m) m = length($0) } END { print m <= 60 }')" = 1 ]

# ---- a run and who watches it ----
steps() { echo "peft-train -m s.gguf -o $1 --precision f32 --max-steps $2 -f tr.mpz"; }
tty 100 "$(steps one 6) | peft-log" >screen 2>&1
is records_are_whole [ "$(tr -d '\r' <screen | grep -c '^train  *step [0-9]* ')" = "$(peft-log one/metrics.mpz | grep -c '"train"')" ]
is only_the_last_stage_draws [ -z "$(tr '\r' '\n' <screen | grep 'steps/s.*left' | grep epoch)" ]
is the_last_stage_knows_the_total grep -q "step 6/6" <(tr "\r" "\n" <screen)
tty 100 "$(steps one 6)" >screen 2>&1
is alone_it_draws grep -q 'step .*/6' screen
is telemetry_has_the_total grep -q '"total_steps":6' <(peft-log one/telemetry.mpz)
tty 100 "$(steps int 100000) | peft-log; echo code \$?" 4 >screen 2>&1
is interrupt_keeps_the_summary grep -q 'records of metrics up to here' screen
is interrupt_has_its_code grep -q '^code 75' screen

# ---- a stream that is being written ----
eval "exec $(steps live 100000)" >/dev/null 2>&1 &
p=$!
for _ in $(seq 100); do [ -s live/metrics.mpz ] && [ "$(peft-log live/metrics.mpz 2>/dev/null | wc -l)" -gt 0 ] && break; sleep 0.1; done
peft-log tty live/metrics.mpz >out 2>err
is running_is_not_cut grep -q 'still being written by peft-train' err
is running_is_shown grep -q '^train' out
tty 100 'exec peft-log -F tty live/metrics.mpz' 0.7 >screen 2>&1
code=$?
is following_interrupted_sums_up grep -q 'records of metrics up to here' screen
is following_interrupted_dies_of_it [ $code = 254 ] # -SIGINT, by terminal.py
is it_reports_no_error [ -z "$(grep error screen)" ]
timeout 60 peft-log -F cat live/metrics.mpz >out 2>err &
w=$!
sleep 0.3
kill -9 $p
wait $p 2>/dev/null
wait $w
code=$?
is follow_ends_with_its_writer [ $code = 65 ]
is follow_says_so grep -q 'without an END record' err
peft-log tty live/metrics.mpz >out 2>err
is killed_is_cut grep -q 'died, or the file was cut' err
touch -d '1 minute ago' live/metrics.mpz
timeout 20 peft-log -F tty live/metrics.mpz >out 2>err
code=$?
is follow_of_a_dead_one_ends [ $code = 65 ]
is follow_of_a_dead_one_sums_up grep -q 'up to here' out
