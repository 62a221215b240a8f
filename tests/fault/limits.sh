#!/bin/bash
# tier: fast
# Few descriptors: whatever a tool can do with them, it either does all of its work or says what it could not do, with a documented exit
# code and nothing left behind, neither output nor temporary; and a hang-up is a request to save, unless nohup has it ignored.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny limits
m=$t/s.gguf
common=(-q -m "$m" --threads 1 --precision f32 --eval-metrics none)
peft-train "${common[@]}" --max-steps 4 --save-steps 1 --keep 2 --lr 1e-2 -o "$t/run" "$t/tr.mpz" >/dev/null || echo 'FAIL limits: cannot train'
sweep() { # sweep NAME RESULT COMMAND...: with 4 to 16 descriptors
    local name=$1 result=$2 n bad='' done=0
    shift 2
    "$@" >/dev/null 2>&1 && cp -r "$result" "$t/want" || bad='fails without a limit;'
    rm -rf "$result"
    for n in $(seq 4 16); do
        (ulimit -n "$n" && exec "$@") >/dev/null 2>"$t/err"
        rc=$?
        left=$(find "$t" -name '*.tmp-*' -o -name .lock)
        [ -z "$left" ] || bad+=" $n: left $left;"
        if [ $rc = 0 ]; then
            done=$((done + 1))
            diff -r -x telemetry.mpz "$result" "$t/want" >&2 || bad+=" $n: another result;"
        else
            case $rc in 65 | 66 | 69 | 70 | 71 | 73 | 74 | 127) ;; *) bad+=" $n: exit $rc;" ;; esac
            [ "$rc" = 127 ] || grep -q 'error: ' "$t/err" || bad+=" $n: no message;"
            [ "$name" = train ] || [ ! -e "$result" ] || bad+=" $n: output after an error;"
        fi
        rm -rf "$result"
    done
    rm -rf "$t/want"
    is "descriptors.$name" [ -z "$bad" -a "$done" -gt 0 ]
    [ -z "$bad" ] || echo "$name:$bad" >&2
}
sweep prep "$t/out.mpz" peft-prep -o "$t/out.mpz" "$t/qa.csv"
sweep tok "$t/out.mpz" peft-tok -m "$m" -o "$t/out.mpz" "$t/train.mpz"
sweep eval "$t/out.mpz" peft-eval -m "$m" -a "$t/run" --threads 1 --metrics em --max-new-tokens 1 -o "$t/out.mpz" "$t/te.mpz"
sweep merge "$t/merged" peft-merge -m "$m" -a "$t/run" -o "$t/merged"
sweep merge_gguf "$t/m.gguf" peft-merge -m "$m" -a "$t/run" -o "$t/m.gguf"
sweep train "$t/new" peft-train "${common[@]}" --max-steps 3 --save-steps 1 --keep 1 -o "$t/new" "$t/tr.mpz"

hang_up() { # hang_up HOW: train; a hang-up once there is a checkpoint. Its exit code into $rc
    rm -rf "$t/hup"
    if [ "$1" = nohup ]; then trap '' HUP; fi
    peft-train "${common[@]}" --max-steps 60 --save-steps 1 -o "$t/hup" "$t/tr.mpz" >/dev/null 2>"$t/err" &
    trap - HUP
    for _ in $(seq 500); do [ -e "$t/hup/checkpoints/step-000001" ] && break; sleep 0.01; done
    kill -HUP $!
    wait $!
    rc=$?
}
hang_up plain
is hang_up_saves [ "$rc" = 75 -a ! -e "$t/hup/.lock" ]
is hang_up_says_so grep -q 'checkpoint saved at step .*E-INTR' "$t/err"
hang_up nohup
is nohup_goes_on [ "$rc" = 0 -a -e "$t/hup/manifest.json" ]
