#!/bin/bash
# tier: fast
# Errors that no other test provokes, so that tests/lint/error_ids.sh finds each id in a test.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny errors
new=$t/new m=$t/s.gguf
refused template 64 E-TEMPLATE 'character 1 of' peft-prep -o "$new" --prompt '{question' "$t/qa.csv"
refused filter_fails 65 E-FILTER 'false' peft-prep -o "$new" --filter false "$t/qa.csv"
gzip -c "$t/qa.csv" | head -c 200 >"$t/cut.csv.gz"
refused compressed_cut 65 E-COMPRESSED 'cut.csv.gz' peft-prep -o "$new" "$t/cut.csv.gz"
{
    printf 'question,answer\n"'
    head -c 17000000 /dev/zero | tr '\0' x
} >"$t/field.csv"
printf 'a,b\n1,2\n' >"$t/ab.csv"
refused no_such_column 65 E-CSV-HEADER 'ab.csv:2: no column .question.; there are: .a., .b.' peft-prep -o "$new" "$t/ab.csv"
: >"$t/none.csv"
refused no_header 65 E-CSV-HEADER 'none.csv: empty, expected a header row' peft-prep -o "$new" "$t/none.csv"
refused field_too_long 65 E-CSV-SIZE 'field.csv:2' peft-prep -o "$new" "$t/field.csv"
mkdir "$t/tok"
echo '{"model": {"type": "BPE", "vocab": 1}}' >"$t/tok/tokenizer.json"
refused tokenizer 65 E-TOKENIZER 'model.vocab is missing' peft-tok -m "$t/tok" -o "$new" "$t/train.mpz"
run peft-eval -m "$m" --metrics em --max-new-tokens 1 --min em=100 -o "$t/scores.mpz" "$t/te.mpz"
is below_the_minimum [ "$rc" = 1 ]
is below_the_minimum_says_so grep -qF '[E-NEGATIVE]' "$t/err"
peft-train -q -m "$m" -o "$t/run" --max-steps 100000 --precision f32 --logging-steps 1 "$t/tr.mpz" >/dev/null 2>"$t/err" &
pid=$!
for _ in $(seq 500); do
    [ -s "$t/run/metrics.mpz" ] && break
    sleep 0.02
done
kill -TERM $pid
wait $pid
rc=$?
is interrupted [ "$rc" = 75 ]
is interrupted_says_so grep -qF '[E-INTR]' "$t/err"
