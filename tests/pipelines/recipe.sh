#!/bin/bash
# tier: fast
# pipelines/qa.mk as make sees it, with stand-ins for the tools: which change makes which stage run again, that an interrupted
# training is resumed, that a changed input starts it anew, and that a failing stage leaves nothing behind.
# (The real tools in the recipe: real.sh.)
set -u
cd "$(dirname "$0")/../.." || exit 70
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin"
# A stand-in notes its name and output, copies what it was given to its output, and prints its options when asked.
cat >"$tmp/bin/any" <<'X'
#!/bin/bash
me=${0##*/} out= print= get= config= given="$*" adapter=before
while [ $# -gt 0 ]; do
    case $1 in -o) out=$2; shift ;; --print-config) print=1 ;; -a) adapter=after ;; --get) get=$2; shift ;; -c) config=$2; shift ;; esac
    shift
done
[ -n "$print" ] && { echo "$given"; [ "${BAD_OPTIONS:-}" != "$me" ]; exit; }
[ -n "$get" ] && { sed -n "s/^ *${get##*.}: *//p" "$config"; exit; }
[ -t 0 ] || cat >/dev/null
[[ " $given " == *' --json '* ]] && out=$OUT/scores/$adapter
[ -n "$out" ] && echo "$me ${out#"$OUT"/}$(grep -o -- ' --resume' <<<"$given")" >>"$LOG"
[ "${FAIL:-}" = "$me" ] && exit 65
case $me in
peft-train)
    mkdir -p "$out/checkpoints/step-000004" "$out/adapter"
    [ "${INTERRUPT:-}" = 1 ] && { sleep 0.02; touch "$out/checkpoints/step-000004"; exit 75; } ;;
peft-merge) mkdir -p "$out" && echo '{}' >"$out/config.json" ;;
peft-eval) [[ " $given " == *' --json '* ]] && echo '{"em": 12.5, "bleu": 3, "ppl": 9}' || echo answers >"$out" ;;
*) [ -n "$out" ] && echo "$me" >"$out" ;;
esac
exit 0
X
chmod +x "$tmp/bin/any"
for t in prep tok train eval merge log; do ln "$tmp/bin/any" "$tmp/bin/peft-$t"; done
printf 'question,answer\na,b\n' >"$tmp/qa.csv"
echo model >"$tmp/model.gguf"
export LOG=$tmp/log OUT=$tmp/out
run() { # run VARIABLE=VALUE...: make; the stages that ran, sorted, on one line
    : >"$LOG"
    sleep 0.02
    make -f pipelines/qa.mk BIN="$tmp/bin/" OUT="$OUT" CSV="$tmp/qa.csv" MODEL="$tmp/model.gguf" "$@" >"$tmp/stdout" 2>"$tmp/stderr"
    rc=$?
    ran=$(sort "$LOG" | tr '\n' ';')
}
is() { # is NAME EXPECTED-RC EXPECTED-STAGES
    if [ "$rc" = "$2" ] && [ "$ran" = "$3" ]; then echo "ok recipe: $1"; else
        echo "FAIL recipe: $1: exit $rc, ran: $ran"
        tail -n 5 "$tmp/stderr" >&2
        echo "expected: $3" >&2
    fi
}
prep='peft-prep data/dev.mpz;peft-prep data/rest.mpz;peft-prep data/test.mpz;peft-prep data/train.mpz;'
tok='peft-tok tokens/dev.mpz;peft-tok tokens/test.mpz;peft-tok tokens/train.mpz;'
all="peft-eval answers.mpz;peft-eval scores/after;peft-eval scores/before;peft-merge merged;$prep${tok}peft-train run;"
after='peft-eval answers.mpz;peft-eval scores/after;'
run; is 'everything runs at first' 0 "$all"
grep -qE '^em +12\.50 +12\.50$' "$tmp/stdout" && echo 'ok recipe: table' || echo "FAIL recipe: table: $(head -n 4 "$tmp/stdout")"
run; is 'nothing runs twice' 0 ''
touch "$tmp/qa.csv"; run; is 'a touched CSV reruns all' 0 "$all"
run EVAL='--metrics em'; is 'evaluation options rerun the evaluation alone' 0 "${after}peft-eval scores/before;"
run EVAL='--metrics em'; is 'and only once' 0 ''
run EVAL='--metrics em' TRAIN='--lr 1'; is 'training options rerun training and what follows' 0 "${after}peft-merge merged;peft-train run;"
run EVAL='--metrics em' TRAIN='--lr 1' MERGE='--dtype f16'; is 'merge options rerun merge and its answers' 0 'peft-eval answers.mpz;peft-merge merged;'
same=(EVAL='--metrics em' MERGE='--dtype f16')
INTERRUPT=1 run "${same[@]}" TRAIN='--lr 2'; is 'an interrupted training stops make' 2 'peft-train run;'
run "${same[@]}" TRAIN='--lr 2'; is 'and is resumed' 0 "${after}peft-merge merged;peft-train run --resume;"
INTERRUPT=1 run "${same[@]}" TRAIN='--lr 3'
run "${same[@]}" TRAIN='--lr 4'; is 'other options start it anew' 0 "${after}peft-merge merged;peft-train run;"
touch "$tmp/model.gguf"
FAIL=peft-tok run "${same[@]}" TRAIN='--lr 4'
[ "$rc" = 2 ] && ! grep -q peft-train <<<"$ran" && echo 'ok recipe: a failing stage stops what follows' || echo "FAIL recipe: a failing stage: exit $rc, ran $ran"
run "${same[@]}" TRAIN='--lr 4'; grep -q 'peft-train run' <<<"$ran" && [ $rc = 0 ] && echo 'ok recipe: and is caught up' || echo "FAIL recipe: caught up: exit $rc, $ran"
BAD_OPTIONS=peft-train run "${same[@]}" TRAIN='--lr x'
[ "$rc" = 2 ] && [ "$(cat "$OUT/options/train")" = '--lr 4 --print-config' ] && echo 'ok recipe: wrong options are told and not remembered' || echo "FAIL recipe: wrong options: exit $rc, $(cat "$OUT/options/train")"
# the configuration file: its data set and model are used, and a change in it counts
printf 'model:\n  name_or_path: %s\ndataset:\n  path: %s\n' "$tmp/model.gguf" "$tmp/qa.csv" >"$tmp/c.yaml"
: >"$LOG"
make -f pipelines/qa.mk BIN="$tmp/bin/" OUT="$OUT" CONFIG="$tmp/c.yaml" >"$tmp/stdout" 2>"$tmp/stderr"
rc=$? ran=$(sort "$LOG" | tr '\n' ';')
is 'CONFIG names data and model' 0 "$all"
