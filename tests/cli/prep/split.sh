#!/bin/bash
# tier: fast
# Train and test are disjoint, complete and of the stated size; groups stay whole; prompts on both sides are reported.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep log=$PEFT_BIN/peft-log
ok() { echo "ok split: $1"; }
bad() { echo "FAIL split: $1: $2"; }
{ echo question,answer,g; for i in $(seq 1 1003); do echo "q$i,a$i,g$((i % 40))"; done; } >in.csv
for size in 0.1 0.25 0.5 0.9 0.033; do
    "$prep" -q --split train --test-size $size in.csv | "$log" cat >train
    "$prep" -q --split test --test-size $size in.csv | "$log" cat >test
    "$prep" -q in.csv | "$log" cat >all
    n=$(wc -l <test)
    want=$(awk "BEGIN { printf \"%d\", 1003 * $size + .5 }")
    sort -u train test | cmp -s - <(sort all) && [ $(($(wc -l <train) + n)) -eq 1003 ] && [ $((n - want)) -le 2 ] && [ $((want - n)) -le 2 ] &&
        ok "disjoint, complete, $size of the rows" || bad "disjoint, complete, $size" "$n test rows, expected $want"
done
"$prep" -q --split test in.csv | "$log" cat >a; "$prep" -q --split test --seed 7 in.csv | "$log" cat >b
cmp -s a b && bad "the seed matters" "same rows" || ok "the seed matters"
"$prep" -q --split-to d in.csv && "$log" cat d/test.mpz | cmp -s - a && "$log" verify d/train.mpz >/dev/null && ok "--split-to gives the same sides" || bad "--split-to" "differs"
"$prep" -q --split-to g --group-by g --test-size 0.3 in.csv
"$log" cat g/train.mpz | sed 's/.*"group"://' | sort -u >gt; "$log" cat g/test.mpz | sed 's/.*"group"://' | sort -u >ge
[ -s gt ] && [ -s ge ] && [ -z "$(comm -12 gt ge)" ] && [ "$(cat gt ge | wc -l)" -eq 40 ] && ok "groups stay whole" || bad "groups" "$(comm -12 gt ge | head -n 3)"
{ echo question,answer; for i in $(seq 1 50); do echo "same,a$i"; done; } >dup.csv
"$prep" --split train dup.csv 2>err >x.mpz; grep -q '1 prompts are in both test and train (rows' err && ok "a prompt on both sides is reported" || bad "prompt on both sides" "$(cat err)"
if [ -d "$PEFT_DATA/qa/banking77" ]; then
    "$prep" --split-to bank --columns text,category "$PEFT_DATA/qa/banking77/train.csv" 2>err && grep -q 'in=10003 out=10003' err && ok "banking77" || bad "banking77" "$(cat err)"
    "$prep" --filter 'sed '\''s/: \[\("\([^"\\]\|\\.\)*"\).*\]/: \1/'\'''  "$PEFT_DATA/qa/nq_open/NQ-open.efficientqa.dev.1.1.jsonl" 2>err >x.mpz && "$log" verify x.mpz >/dev/null && ok "nq_open" || bad "nq_open" "$(cat err)"
    "$prep" --prompt 'Capital of {name.common}?' --target ' {capital}' "$PEFT_DATA/qa/countries/countries.csv" 2>err >x.mpz && grep -q 'in=250 out=245 dropped=5 reason=empty_target:5' err && ok "countries" || bad "countries" "$(cat err)"
    "$prep" "$PEFT_DATA/qa/snips/train_PlayMusic_full.json" >x.mpz 2>err; [ $? -eq 65 ] && grep -q 'jq -c' err && ok "snips, a document and not lines" || bad "snips" "$(cat err)"
else
    echo "skip split: real data: PEFT_DATA is absent"
fi

# The same bytes for any number of threads, over several frames; an error in the middle is the same one and leaves no output.
{ echo question,answer; for i in $(seq 60000); do echo "what is $i times $((i * 7919 % 10007)),\"it is, say, $((i * i))\""; done; } >many.csv
for n in 1 2 5; do "$prep" -q --threads $n many.csv -o "t$n.mpz" 2>err; done
if [ "$(stat -c %s t1.mpz)" -gt 300000 ] && cmp -s t1.mpz t2.mpz && cmp -s t1.mpz t5.mpz; then echo "ok prep: 1, 2 and 5 threads"; else echo "FAIL prep: 1, 2 and 5 threads: outputs differ: $(cat err)"; fi
sed '50000s/$/x/' many.csv >broken.csv
for n in 1 5; do "$prep" --threads $n broken.csv -o b.mpz 2>err; said=$?$(grep -c 'broken.csv:50000:.*E-CSV-QUOTE' err); [ ! -e b.mpz ] && [ "$said" = 651 ] && echo "ok prep: error with $n threads" || echo "FAIL prep: error with $n threads: $(cat err)"; done
