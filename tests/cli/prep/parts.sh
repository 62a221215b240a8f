#!/bin/bash
# tier: fast
# peft-prep on JSON lines with parts and names of adapters: what is taken, what is refused and where, what stays as it was.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep log=$PEFT_BIN/peft-log
ok() { echo "ok prep.parts: $1"; }
bad() { echo "FAIL prep.parts: $1: $2"; }
# good NAME EXPECTED-JSON-LINES ARGS...: stdin is the input
good() {
    local name=$1 want=$2
    shift 2
    "$prep" -f -o out.mpz "$@" 2>err && "$log" cat out.mpz >got 2>>err || { bad "$name" "$(head -n 1 err)"; return; }
    [ "$(cat got)" = "$want" ] && ok "$name" || bad "$name" "$(head -c 300 got)"
}
# fails NAME MESSAGE-PART ARGS...: E-JSON, and the output must not appear
fails() {
    local name=$1 part=$2 rc
    shift 2
    rm -f out.mpz
    "$prep" -o out.mpz "$@" 2>err
    rc=$?
    if [ $rc -ne 65 ] || ! grep -q 'E-JSON' err; then bad "$name" "exit $rc: $(head -n 1 err)"
    elif ! grep -qF -- "$part" err; then bad "$name" "message is: $(head -n 1 err)"
    elif [ -e out.mpz ]; then bad "$name" "left an output"
    else ok "$name"; fi
}
has() { grep -qF -- "$2" "$3" && ok "$1" || bad "$1" "$(head -c 300 "$3")"; }
q='{"text":"Q: a\nA:","train":false}' a='{"text":" b","train":true}' r='{"text":"\nQ: \"é\"\nA:","train":false}' c='{"text":" d","train":true}'

good "parts are taken as they are" "{\"row\":1,\"parts\":[$q,$a,$r,$c]}" < <(echo "{\"x\":1,\"parts\":[$q, $a , $r,$c]}")
good "one part is a text to learn" "{\"row\":1,\"parts\":[$a]}" < <(echo "{\"parts\":[$a]}")
"$log" cat out.mpz | good "what peft-log prints is read again" "{\"row\":1,\"parts\":[$a]}" --format jsonl
{ echo "{\"parts\":[$q,$a]}"; echo "{\"parts\":[$q,{\"text\":\" \\n\",\"train\":true},$a]}"; } >in.jsonl
good "a blank part to train on drops the row" "{\"row\":1,\"parts\":[$q,$a]}" in.jsonl
has "and is counted" 'in=2 out=1 dropped=1 reason=empty_target:1' err
good "groups" "{\"row\":1,\"group\":\"7\",\"parts\":[$q,$a]}" --group-by g < <(echo "{\"g\":7,\"parts\":[$q,$a]}")
good "through a filter" "{\"row\":1,\"parts\":[$q,$a],\"adapter\":\"fr\"}" --filter "sed 's/null/\"fr\"/'" < <(echo "{\"parts\":[$q,$a],\"adapter\":null}")
{ echo "{\"parts\":[$q,$a]}"; echo "{\"parts\":[$q,{\"text\":\" b\",\"train\":false},$a]}"; echo "{\"parts\":[$q,$a]}"; echo "{\"parts\":[$q,$a,$r]}"; } >in.jsonl
good "dedup looks at all parts" "$(printf '{"row":1,"parts":[%s]}\n' "$q,$a"; printf '{"row":2,"parts":[%s]}\n' "$q,{\"text\":\" b\",\"train\":false},$a"; printf '{"row":4,"parts":[%s]}' "$q,$a,$r")" --dedup in.jsonl
"$prep" -q -n in.jsonl >got 2>err
has "dry run shows them" '  given  "Q: a\nA:"' got
has "dry run shows what is trained on" '  train  " b"' got

# ---- what stays as it was: a field that a template names, or a row of CSV ----
good "with templates it is a column" '{"row":1,"prompt":"x","target":"y"}' --prompt '{parts}' --target '{t}' < <(echo '{"parts":"x","t":"y"}')
good "a list too, if no template names it" '{"row":1,"prompt":"a","target":" b"}' --prompt '{question}' < <(echo '{"parts":[1],"question":"a","answer":"b"}')
good "and with columns named" '{"row":1,"prompt":"Q: a\nA:","target":" b"}' --columns q,a < <(echo '{"parts":[1],"q":"a","a":"b"}')
good "CSV has no parts" '{"row":1,"prompt":"Q: a\nA:","target":" b"}' < <(printf 'question,answer,parts,adapter\na,b,[],x\n')
[ "$(head -c 18 out.mpz | tail -c 2 | xxd -p)" = 0100 ] && ok "CSV is version 1.0" || bad "CSV is version 1.0" "$(head -c 18 out.mpz | xxd -p)"
printf '{"question":"a","answer":"b"}\n' | "$prep" -q -f -o out.mpz
[ "$(head -c 18 out.mpz | tail -c 2 | xxd -p)" = 0100 ] && ok "JSON lines without parts are version 1.0" || bad "JSON lines without parts are version 1.0" "$(head -c 18 out.mpz | xxd -p)"

# ---- refused ----
fails "no list" '<stdin>:1: parts: is a string, expected a list' < <(echo '{"parts":"a"}')
fails "null" 'parts: is a null, expected a list' < <(echo '{"parts":null}')
fails "empty list" 'parts: the list is empty' < <(echo '{"parts":[]}')
fails "no object" 'parts: part 2: is a string, expected an object' < <(echo "{\"parts\":[$q,\"b\"]}")
fails "text is missing" ':2: parts: part 1: field text is missing' < <(echo "{\"parts\":[$a]}"; echo '{"parts":[{"train":true}]}')
fails "train is missing" 'part 1: field train is missing' < <(echo '{"parts":[{"text":"a"}]}')
fails "text is a number" 'part 1: text is a number, expected a string' < <(echo '{"parts":[{"text":1,"train":true}]}')
fails "train is a number" 'part 1: train is a number, expected true or false' < <(echo '{"parts":[{"text":"a","train":1}]}')
fails "another field" "part 2: unknown field 'role'" < <(echo "{\"parts\":[$q,{\"text\":\"a\",\"train\":true,\"role\":\"x\"}]}")
fails "nothing to train on" 'parts: none is to be trained on' < <(echo "{\"parts\":[$q,$r]}")
fails "the second row has none" ':2: this row has no parts, the first row has some' < <(echo "{\"parts\":[$a]}"; echo '{"question":"a","answer":"b"}')
fails "the second row has some" ':2: this row has parts, the first row has none' < <(echo '{"question":"a","answer":"b"}'; echo "{\"parts\":[$a]}")

# ---- adapters ----
row='"question":"a","answer":"b"' out='"prompt":"Q: a\nA:","target":" b"'
good "adapters" "$(printf '{"row":1,%s}\n{"row":2,%s,"adapter":"fr-2"}\n{"row":3,%s}' "$out" "$out" "$out")" < <(printf '{%s,"adapter":null}\n{%s,"adapter":"fr-2"}\n{%s}\n' "$row" "$row" "$row")
good "rows of two adapters are no duplicates" "$(printf '{"row":1,%s,"adapter":"a"}\n{"row":2,%s,"adapter":"b"}\n{"row":4,"prompt":"Q: a\\nA:","target":" c","adapter":"b"}' "$out" "$out")" --dedup < <(printf '{%s,"adapter":"a"}\n{%s,"adapter":"b"}\n{%s,"adapter":"b"}\n{"question":"a","answer":"c","adapter":"b"}\n' "$row" "$row" "$row")
fails "adapter is a list" 'adapter is a list, expected a name or null' < <(echo "{$row,\"adapter\":[]}")
fails "adapter is no name" "adapter is '../x', expected a name" < <(echo "{$row,\"adapter\":\"../x\"}")
fails "adapter is empty" "adapter is '', expected a name" < <(echo "{$row,\"adapter\":\"\"}")
fails "adapter not announced" ':2: this row names an adapter, the first row has no such field' < <(printf '{%s}\n{%s,"adapter":"x"}\n' "$row" "$row")
# the reader of a pipe is told, though the header waits for the first row
set -o pipefail
echo '{"parts":7}' | "$prep" 2>/dev/null | "$log" cat >/dev/null 2>err
[ "${PIPESTATUS[*]}" = "0 65 65" ] && grep -q 'E-STREAM-ABORT' err && ok "ABORT tells why" || bad "ABORT tells why" "$(cat err)"
