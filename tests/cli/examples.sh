#!/bin/bash
# tier: fast
# Every example of the README, of --help and of the manual pages runs as it is written, in a directory that has the files which it names: those
# of the README and of peft(7) one after the other, each of the others in a fresh copy. Those for make need another model.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny examples
command -v jq >/dev/null || { echo "skip examples: jq is absent"; exit 0; }
root=$PWD
mkdir "$t/empty" "$t/full"
cp "$t/s.gguf" "$t/empty/model.gguf" && cp "$t/qa.csv" "$t/empty" && cp -r "$t/empty/." "$t/full" && cd "$t/full" || exit 70
{
    peft-prep -q qa.csv -o x.ex && peft-prep -q --split train qa.csv -o examples.mpz && cp "$t/tr.mpz" train.mpz && cp "$t/te.mpz" test.mpz
    cp test.mpz dev.mpz && cp train.mpz more.mpz && cp train.mpz x.mpz && cp x.ex a.mpz && cp x.ex b.mpz
    printf 'question,answer,customer\n%s\n' a,b,c d,e,f g,h,i j,k,l m,n,o p,q,r s,t,u v,w,x >tickets.csv
    printf 'en\tde\nred\trot\nblue\tblau\n' >pairs.tsv
    printf '{"question":"A","answer":"b"}\n' >qa.jsonl
    printf 'training: {num_train_epochs: 1}\nmodel: {name_or_path: model.gguf}\n' >config.yaml
    printf 'a text\n' >text
    peft-train -q -m model.gguf -o run --max-steps 4 --save-steps 2 train.mpz >/dev/null
    cp -r run/checkpoints/step-000002 run/checkpoints/step-000500
    cp -r run run1 && cp -r run run2
    peft-merge -q -m model.gguf -a run --dtype f32 -o tuned.gguf
} 2>"$t/err" || { echo "FAIL examples: cannot prepare: $(tail -n 1 "$t/err")"; exit 0; }

n=0
one() { # one FILE COMMAND: run it where we are
    local rc
    n=$((n + 1))
    timeout 60 bash -c "$2" >"$t/out" 2>"$t/err" </dev/null
    rc=$?
    case $2 in *--min*) [ $rc -le 1 ] && rc=0 ;; esac # a score may be too low
    case $2:$(grep -c 'No module named .msgpack' "$t/err") in *msgpack*:1) rc=0 ;; esac # the page says what it needs
    [ $rc = 0 ] && echo "ok examples.${1##*/} $n" || echo "FAIL examples.${1##*/}: exit $rc: $(head -n 1 <<<"$2")...: $(grep -m 1 error "$t/err")"
}
for file in README.md man/peft.7; do
    rm -rf "$t/work" && cp -r "$t/empty" "$t/work" && cd "$t/work" || exit 70
    while read -r command; do one $file "$(jq -r . <<<"$command")"; done < <(python3 "$root/tests/cli/examples.py" "$root/$file")
done
alone() { # alone FILE COMMAND: in a fresh copy, without what it is to write
    rm -rf "$t/work" && cp -r "$t/full" "$t/work" && cd "$t/work" || exit 70
    case $2 in *--resume*) ;; *) grep -oE -- '(-o|--output|--split-to) [^ ]+' <<<"$2" | while read -r _ out; do rm -rf "$out"; done ;; esac
    one "$1" "$2"
}
for file in "$root"/man/*.[15]; do
    while read -r command; do alone "$file" "$(jq -r . <<<"$command")"; done < <(python3 "$root/tests/cli/examples.py" "$file")
done
for tool in prep tok train eval merge log; do alone "peft-$tool" "$(peft-$tool --help | sed -n 's/^Example: //p')"; done
[ $n -gt 40 ] && echo "ok examples: all found" || echo "FAIL examples: $n found"
