#!/bin/bash
# tier: fast
# Several streams as one, and streams of JSON lines: rows, counts, provenance, what is refused.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
golden=$(cd "$(dirname "$0")/../golden" && pwd)
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep tok=$PEFT_BIN/peft-tok log=$PEFT_BIN/peft-log
ok() { echo "ok mix: $1"; }
bad() { echo "FAIL mix: $1: $2"; }
is() { [ "$2" = "$3" ] && ok "$1" || bad "$1" "expected '$2', found '$3' $(head -n 2 err)"; }
fails() { # fails NAME CODE PART COMMAND...
    local name=$1 code=$2 part=$3 rc
    shift 3
    "$@" >got 2>err
    rc=$?
    if [ $rc -eq "$code" ] && grep -qF -- "$part" err; then ok "$name"; else bad "$name" "exit $rc, expected $code: $(head -n 2 err)"; fi
}
printf '{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5},"merges":[]}}' >tokenizer.json
sed 's/"f":5/"f":6/' tokenizer.json >other.json
printf 'question,answer\na,b\n,x\nc,d\n' >a.csv
printf 'question,answer\ne,f\n,x\n,y\n' >b.csv
pair=(--prompt '{question}' --target '{answer}')
for x in a b; do "$prep" -q "${pair[@]}" -o $x.mpz $x.csv && "$tok" -q -t tokenizer.json --eos none $x.mpz -o $x.tok 2>err || bad setup "$(cat err)"; done

"$tok" -t tokenizer.json --eos none a.mpz b.mpz -o both.tok 2>err
is "counts" "peft-tok: in=3 out=3 dropped=0 reason=" "$(cat err)"
is "rows are numbered on" "1 3 4" "$("$log" cat both.tok | sed 's/.*"row":\([0-9]*\).*/\1/' | tr '\n' ' ' | sed 's/ $//')"
is "the records are those of both" "$(cat <("$log" cat a.tok) <("$log" cat b.tok) | sed 's/"row":[0-9]*//')" "$("$log" cat both.tok | sed 's/"row":[0-9]*//')"
is "all inputs are in the chain" "peft-prep a.csv, peft-prep b.csv, peft-tok a.mpz b.mpz" "$("$log" trace both.tok | awk '/^[0-9]/ { tool = $2 } /inputs/ { $1 = ""; printf "%s%s%s", n++ ? ", " : "", tool, $0 }')"
is "with their counts" "in=3 out=2 dropped=1 empty_prompt=1,in=3 out=1 dropped=2 empty_prompt=2,in=3 out=3 dropped=0" "$("$log" trace both.tok | sed -n 's/^ *counts *//p' | paste -sd,)"
"$log" -q verify both.tok >got 2>err && ok "the seal is right" || bad "the seal is right" "$(cat err)"
"$tok" -q -t tokenizer.json --eos none a.mpz b.mpz 2>err | cmp -s - both.tok && ok "the same bytes again" || bad "the same bytes again" "$(cat err)"
is "cat of several" "$("$log" cat both.tok)" "$("$log" cat a.tok b.tok 2>err)"
is "csv of several has one header" "$("$log" csv both.tok)" "$("$log" csv a.tok b.tok 2>err)"
is "tty of several sums up" "3 records of examples; in=6 out=3 dropped=3 reason=empty_prompt:3" "$("$log" tty a.mpz b.mpz 2>err | tail -n 1)"
is "verify takes each" "a.tok: ok:,b.tok: ok:" "$("$log" verify a.tok b.tok 2>err | cut -d' ' -f1,2 | paste -sd,)"
is "trace takes each" 2 "$("$log" trace a.mpz b.mpz | grep -c '^1  peft-prep')"
fails "streams of two kinds" 65 'b.tok: of another kind than the streams before it' "$log" cat a.mpz b.tok
"$tok" -q -t other.json --eos none b.mpz -o o.tok 2>err
fails "streams of two tokenizers" 65 'o.tok: of another tokenizer' "$log" cat a.tok o.tok
head -c -1 b.tok >cut.tok
fails "a cut one among them" 65 'cut.tok: stream cut' "$log" cat -o none.json a.tok cut.tok
[ -e none.json ] && bad "a cut one leaves no output" "it is there" || ok "a cut one leaves no output"
fails "a missing one" 66 'none.tok' "$log" cat a.tok none.tok
fails "encode takes one file" 64 'expected one file' "$tok" -t tokenizer.json --encode a.csv b.csv

# ---- JSON lines become a stream ----
for x in "$golden"/v1*/*.mpz; do
    "$log" cat "$x" >lines 2>err && "$log" -q pack --like "$x" -f -o packed.mpz lines 2>>err && "$log" cat packed.mpz 2>>err | cmp -s - lines && ok "pack ${x#"$golden"/}" || bad "pack ${x#"$golden"/}" "$(cat err)"
done
"$log" cat a.tok | "$log" pack --like a.tok -o p.tok 2>err
is "pack counts" "peft-log: in=2 out=2 dropped=0 reason=" "$(cat err)"
"$log" cat p.tok b.tok >got 2>err && ok "pack --like: the tokenizer is the same" || bad "pack --like" "$(cat err)"
"$log" cat a.tok b.tok | "$log" -q pack -o q.tok 2>err && "$log" cat q.tok | cmp -s - <("$log" cat both.tok) && ok "pack of several without --like" || bad "pack of several" "$(cat err)"
pack() { printf '%s\n' "$@" | "$log" pack -f -o out.mpz 2>err; }
pack '{"ids":[1,2,3],"mask":[0,0,1]}' '{"ids":[4],"mask":[1]}'
is "tokens of others" '{"row":1,"ids":[1,2,3],"mask":[0,0,1],"n_prompt":2,"prompt":"","target":""} {"row":2,"ids":[4],"mask":[1],"n_prompt":0,"prompt":"","target":""}' "$("$log" cat out.mpz | paste -sd' ')"
rm -f out.mpz
refused() { # refused NAME PART LINE...
    local name=$1 part=$2
    shift 2
    pack "$@"
    if [ $? -eq 65 ] && grep -qF -- "$part" err && [ ! -e out.mpz ]; then ok "$name"; else bad "$name" "$(cat err)"; fi
}
refused "fields of no kind" '<stdin>:1: the fields are those of no kind' '{"question":"a","answer":"b"}'
refused "an unknown field" "<stdin>:2: unknown field 'x'" '{"prompt":"a","target":"b"}' '{"prompt":"a","target":"b","x":1}'
refused "a missing field" '<stdin>:2: target: expected this field' '{"prompt":"a","target":"b"}' '{"prompt":"a"}'
refused "a mask of another length" 'mask: expected a list of 0 and 1, as long as ids' '{"ids":[1],"mask":[1,0]}'
refused "an id that is none" 'ids: expected a list of token ids' '{"ids":[1.5],"mask":[1]}'
refused "n_prompt above the ids" 'n_prompt above the number of ids' '{"ids":[1],"mask":[1],"n_prompt":2}'
refused "parts behind a pair" 'the first line says which' '{"prompt":"a","target":"b"}' '{"parts":[{"text":"a","train":true}]}'
refused "rows that do not ascend" '<stdin>:2: row is not above that of the line before' '{"row":2,"prompt":"a","target":"b"}' '{"row":2,"prompt":"a","target":"b"}'
refused "no lines" 'no records' ''
printf '{"ids":[9],"mask":[1]}\n' | "$log" pack --like a.tok -o out.mpz 2>err
is "an id above the vocabulary of --like" 1 "$(grep -c 'token id not below' err)"
fails "--like without pack" 64 'belong to pack' "$log" --like a.tok cat a.tok
