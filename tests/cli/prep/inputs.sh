#!/bin/bash
# tier: fast
# peft-prep on good and malformed input: exit code, message, and that a failure leaves no output.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep log=$PEFT_BIN/peft-log
ok() { echo "ok prep: $1"; }
bad() { echo "FAIL prep: $1: $2"; }
# good NAME EXPECTED-JSON-LINES ARGS...: stdin is the input
good() {
    local name=$1 want=$2
    shift 2
    "$prep" -q -f -o out.mpz "$@" 2>err && "$log" cat out.mpz >got 2>>err || { bad "$name" "$(head -n 1 err)"; return; }
    [ "$(cat got)" = "$want" ] && ok "$name" || bad "$name" "$(head -c 300 got)"
}
# fails NAME CODE MESSAGE-PART ARGS...: the output must not appear
fails() {
    local name=$1 code=$2 part=$3 rc
    shift 3
    rm -f out.mpz
    "$prep" -o out.mpz "$@" 2>err
    rc=$?
    if [ $rc -ne "$code" ]; then bad "$name" "exit $rc, expected $code: $(head -n 1 err)"
    elif ! grep -qF -- "$part" err; then bad "$name" "message is: $(head -n 1 err)"
    elif [ -e out.mpz ] || ls .out.mpz.tmp-* >/dev/null 2>&1; then bad "$name" "left an output"
    else ok "$name"; fi
}
row() { printf '{"row":%s,"prompt":"Q: %s\\nA:","target":" %s"}' "$@"; }

printf 'question,answer\na,b\nc,d\n' | good "plain CSV" "$(row 1 a b; echo; row 2 c d)"
printf '\xef\xbb\xbfquestion,answer\r\na,b\r\n' | good "byte order mark and CRLF" "$(row 1 a b)"
printf 'QUESTION,Answer,x\na,b,\n' | good "column names in another case" "$(row 1 a b)"
printf 'question,answer\n"a ""q"", b","1\n2"\n' | good "quoted quotes, commas and line breaks" "$(row 1 'a \"q\", b' '1\n2')"
printf 'question,answer\n a , b\n' | good "blanks are kept" "$(row 1 ' a ' ' b')"
printf 'question,answer\na,b' | good "no line feed at the end" "$(row 1 a b)"
printf 'question,answer\n\na,b\n\n' | good "empty lines are no rows" "$(row 1 a b)"
printf 'question\tanswer\na\tb,c\n' | good "TSV by content" "$(row 1 a b,c)"
printf 'question;answer\na;b\n' | good "another delimiter" "$(row 1 a b)" --delimiter ';'
printf 'a,b\nc,d\n' | good "no header, names given" "$(row 1 a b; echo; row 2 c d)" --columns question,answer
printf 'text,label\na,b\n' | good "other names for question and answer" "$(row 1 a b)" --columns text,label
printf '{"question":"a","answer":1.10}\n{"answer":true,"question":"\\u00e9"}\n' | good "JSON lines, numbers as spelled" "$(row 1 a 1.10; echo; row 2 é true)"
printf '{"question":"a","answer":123456789012345678901234567890}\n' | good "JSON integer above 64 bits" "$(row 1 a 123456789012345678901234567890)"
printf 'question,answer\na,caf\xe9\n' | good "Latin-1" "$(row 1 a café)" --encoding latin1
printf 'question,answer\na,b"c\n' | good "bare quote, lenient" "$(row 1 a 'b\"c')" --lenient
printf 'question,answer\na,b\n' | gzip | good "gzip" "$(row 1 a b)"
printf 'question,answer\na,b\n' | zstd -q | good "zstd" "$(row 1 a b)"
printf 'q,a\nx,y\n' | good "templates with escapes and braces" '{"row":1,"prompt":"{x}\t\\","target":"y\n"}' --prompt '{{{q}}}\t\\' --target '{a}\n'
printf 'question,answer\na,b\na,b\na,c\n' | good "--dedup" "$(row 1 a b; echo; row 3 a c)" --dedup
printf 'question,answer\na,b\nc,d\n' | good "--limit" "$(row 1 a b)" --limit 1
printf 'question,answer\na,b\nc,d\n' | good "--filter that adds rows" "$(row 1 a b; echo; row 2 a b; echo; row 3 c d; echo; row 4 c d)" --filter 'sed p'
printf 'question,answer\na,b\n' | good "--filter is given JSON" "$(row 1 B b)" --filter "sed 's/\"a\"/\"B\"/'"

printf 'question,answer\na,b,c\n' | fails "too many fields" 65 '<stdin>:2: row of 3 fields, the header has 2'
printf 'question,answer\n"x\ny",b\nc\n' | fails "too few fields, line after a quoted break" 65 '<stdin>:4: row of 1 fields'
printf 'question,answer\na,b\nc,"d\ne,f\n' | fails "unterminated quote" 65 '<stdin>:3:3: unterminated quote'
printf 'question,answer\na,"b\n' | fails "unterminated quote, lenient" 65 '<stdin>:2:3: unterminated quote' --lenient
printf 'question,answer\na,b"c\n' | fails "bare quote" 65 '<stdin>:2:4: quote inside a field'
printf 'question,answer\na,"b"c\n' | fails "text behind a closing quote" 65 '<stdin>:2:6: text behind'
printf 'question,answer\na,b\0c\n' | fails "NUL" 65 '<stdin>:2:4: NUL'
printf 'question,answer\na,caf\xe9\n' | fails "invalid UTF-8" 65 '<stdin>:2:6: invalid UTF-8'
printf '\xff\xfeq\0' | fails "UTF-16" 65 'UTF-16'
printf 'question,answr\na,b\n' | fails "missing column, nearest name" 65 'did you mean {answr}?'
printf 'question,x,y\na,b,c\n' | fails "missing column, those there are" 65 "'question', 'x', 'y'"
printf 'question,answer,answer\n1,2,3\n' | fails "two columns of one name" 65 'two columns named'
printf '' | fails "empty input" 65 'empty'
printf 'question,answer\n' | fails "header alone" 65 'no rows'
printf 'question,answer\na,\n,b\n' | fails "all rows dropped" 65 'empty_prompt:1,empty_target:1'
printf '{"question":"a","answer":["b"]}\n' | fails "JSON list" 65 '<stdin>:1: '"'answer' is a list"
printf '{"question":"a","answer":null}\n' | fails "JSON null" 65 "'answer' is a null"
printf '{"question":"a"\n' | fails "JSON cut" 65 '<stdin>:1:'
printf '{"question":"a","question":"b"}\n' | fails "JSON duplicate key" 65 'uplicate'
printf '{"a":%s1%s}\n' "$(printf '[%.0s' {1..70})" "$(printf ']%.0s' {1..70})" | fails "JSON depth" 65 'nested deeper than 64'
printf 'question,answer\na,b\n' | gzip | head -c 30 | fails "gzip cut" 65 'cut before its end'
printf 'question,answer\na,b\n' | fails "filter that fails" 65 'exit code 3' --filter 'cat; exit 3'
printf 'question,answer\na,b\n' | fails "filter that writes no JSON" 65 '<filter>:1:' --filter 'echo x'
printf 'question,answer\na,b\n' | fails "template wrong" 64 '{ without }' --prompt '{x'
printf 'question,answer\na,b\n' | fails "unknown escape" 64 'unknown escape' --prompt '\x{question}'
printf 'question,answer\na,b\n' | fails "strict and lenient" 64 'exclude' --strict --lenient
fails "no such file" 66 'No such file' nosuch.csv
fails "a directory" 66 'is a directory' .
{ printf 'question,answer\na,"'; head -c 17000000 /dev/zero | tr '\0' x; printf '"\n'; } | fails "field above 16 MiB" 65 'above 16 MiB'
printf 'question,answer\na,b\n' >in.csv
"$prep" -q -f -o out.mpz in.csv && "$prep" in.csv -q | fails "a stream where a table was promised" 65 'is a peft stream already' --format csv
# a stream of examples is an input too: the same rows as by way of JSON lines, and the chain goes on
seq 1 60 | sed '1i question,answer' | sed '2,$s/.*/q&,a&/' >many.csv
"$prep" -q --split train many.csv >s.mpz && "$log" cat s.mpz | "$prep" -q --format jsonl --prompt '{prompt}' --target '{target}' --test-size 0.3 --split test | "$log" cat >want
"$prep" -q --test-size 0.3 --split test s.mpz -o s2.mpz && "$log" cat s2.mpz | cmp -s - want && [ -s want ] && ok "a stream as input" || bad "a stream as input" ""
cat s.mpz | "$prep" -q --test-size 0.3 --split test | "$log" cat | cmp -s - want && ok "a stream from a pipe" || bad "a stream from a pipe" ""
"$prep" -q --limit 3 s.mpz | "$log" cat | wc -l | grep -qx 3 && ok "a stream with a limit" || bad "a stream with a limit" ""
sha=$(sha256sum <many.csv | cut -d' ' -f1)
"$log" trace s2.mpz >got && [ "$(grep -c '^[12]  peft-prep' got)" = 2 ] && grep -q "many.csv, 60 rows, SHA-256 $sha" got && grep -q 'in=60 out=5' got && ok "a stream keeps its provenance" || bad "a stream keeps its provenance" "$(cat got)"
gzip -c many.csv >many.csv.gz && "$prep" -q many.csv.gz many.csv | "$log" trace >got && grep -q "many.csv.gz, 60 rows, SHA-256 $(sha256sum <many.csv.gz | cut -d' ' -f1)" got && grep -q "many.csv, 60 rows, SHA-256 $sha" got && ok "digests of all inputs, as they came" || bad "digests of all inputs" "$(cat got)"
"$prep" -q - <many.csv | "$log" trace | grep -q "<stdin>, 60 rows, SHA-256 $sha" && ok "digest of standard input" || bad "digest of standard input" ""
"$prep" -q --prompt '<{prompt}>' s.mpz | "$log" cat | head -n 1 | grep -q '"prompt":"<Q: ' && ok "a template over a stream" || bad "a template over a stream" ""
"$prep" -q s.mpz in.csv 2>err >two.mpz; [ $? -eq 64 ] && grep -q 'is read alone' err && ok "a stream among files" || bad "a stream among files" "$(cat err)"
head -c 200 s.mpz | fails "a stream that is cut" 65 'E-STREAM' 
rm -f out.mpz && printf x >out.mpz && "$prep" -o out.mpz in.csv 2>err
[ $? -eq 73 ] && [ "$(cat out.mpz)" = x ] && ok "an existing output is kept" || bad "an existing output is kept" "$(cat err)"
"$prep" in.csv 2>err >a.mpz && "$prep" in.csv -q -o b.mpz && cmp -s a.mpz b.mpz && grep -q 'in=1 out=1 dropped=0' err && ok "same bytes to a file and a pipe; accounting" || bad "same bytes" "$(cat err)"
printf 'question,answer\na,b\nc,\n' | "$prep" 2>err >a.mpz && grep -q 'in=2 out=1 dropped=1 reason=empty_target:1' err && ok "a dropped row is counted" || bad "a dropped row is counted" "$(cat err)"
printf 'question,answer\na,b\n' | "$prep" --prompt 'Q: {question} ' --target '{answer}' 2>err >a.mpz; [ "$(grep -c warning err)" -eq 1 ] && ok "white space at the boundary" || bad "white space at the boundary" "$(cat err)"
printf 'question,answer\na,b\n' | "$prep" -n -o dry.mpz >got 2>err && grep -q 'prompt "Q: a' got && [ ! -e dry.mpz ] && ok "--dry-run" || bad "--dry-run" "$(cat err)"
printf 'dataset:\n  path: in.csv\n  prompt: "<{question}>"\n  target: "={answer}"\n' >c.yaml
"$prep" -q -c c.yaml 2>err </dev/null | "$log" cat >got && [ "$(cat got)" = '{"row":1,"prompt":"<a>","target":"=b"}' ] && ok "config: dataset.path, prompt, target" || bad "config" "$(cat err got)"
printf 'question,answer\na,"b' | "$prep" 2>/dev/null | "$log" verify >got 2>err; [ "${PIPESTATUS[2]}" -eq 65 ] && grep -q 'stopped because peft-prep failed: <stdin>:2:3' err && ok "ABORT reaches the next stage" || bad "ABORT" "$(cat err)"
