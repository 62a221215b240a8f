#!/bin/bash
# tier: fast
# peft-prep on data as people have it: what spreadsheets and other trainers write, and what is said where it is not read.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep log=$PEFT_BIN/peft-log
ok() { echo "ok prep.cases: $1"; }
bad() { echo "FAIL prep.cases: $1: $2"; }
# good NAME EXPECTED-ROWS ARGS...: stdin is the input; rows as "prompt|target" in JSON's spelling, the default prompt left out
good() {
    local name=$1 want=$2
    shift 2
    "$prep" -f -o out.mpz "$@" 2>err && "$log" cat out.mpz 2>>err | sed 's/^{"row":[0-9]*,"prompt":"\(Q: \)\{0,1\}//; s/\(\\nA:\)\{0,1\}","target":"/|/; s/"}$//' >got || { bad "$name" "$(head -n 1 err)"; return; }
    [ "$(cat got)" = "$want" ] && ok "$name" || bad "$name" "$(head -c 300 got)"
}
says() { grep -qF -- "$2" err && ok "$1: says so" || bad "$1" "$(head -c 300 err)"; }
silent() { if grep -q warning err; then bad "$1" "$(head -c 300 err)"; else ok "$1"; fi; }
# fails NAME MESSAGE-PART HINT-PART ARGS...: exit 65, no output
fails() {
    local name=$1 part=$2 hint=$3 rc
    shift 3
    rm -f out.mpz
    "$prep" -o out.mpz "$@" 2>err
    rc=$?
    if [ $rc -ne 65 ]; then bad "$name" "exit $rc: $(head -n 1 err)"
    elif ! grep -qF -- "$part" err || ! grep -qF -- "$hint" err; then bad "$name" "$(head -c 400 err)"
    elif [ -e out.mpz ]; then bad "$name" "left an output"
    else ok "$name"; fi
}

# ---- quotes ----
printf 'question\tanswer\n"Yes" he said\tfoo\nc\td\ne "f"\tg\n' >merges.tsv
good "lenient: text behind a closing quote joins no rows" $'Yes he said| foo\nc| d\ne \\"f\\"| g' --lenient merges.tsv
says "lenient rows are counted" 'bare quotes taken as text in 2 rows, the first on line 2'
says "lenient: counts are true" 'in=3 out=3 dropped=0'
printf 'question,answer\n"a" b,"c"d"e"\n"d", e\n' | good "lenient: quotes behind the closing one are text" $'a b| cd\\"e\\"\nd|  e' --lenient
printf 'question\tanswer\n"A\tb\nc\td\n"E\tf\ng\th\n' >swallow.tsv
fails "lenient: a quote that would join lines" ':4:2: text behind the closing quote' 'lines 2 to 4 are rows of their own: --quote none' --lenient swallow.tsv
good "no quoting" $'\\"A| b\nc| d\n\\"E| f\ng| h' --quote none swallow.tsv
printf 'question,answer\r\n"a"",b"\rc,\n' | good "no quoting: line ends and blanks" '\"a\"\"| b\"' --quote none
"$prep" --quote none --lenient swallow.tsv >out 2>err; [ $? -eq 64 ] && ok "no quoting is not lenient" || bad "no quoting is not lenient" "$(cat err)"
printf 'question,answer\n"He said \\"hi\\"?",b\n' | fails "backslashes before quotes" ':2:12: text behind' "sed 's/\\\\\"/\"\"/g'"

# ---- encodings ----
printf 'question,answer\nWhat\x92s a \x93caf\xe9\x94?,5 \x80 \x96\n' >cp1252.csv
fails "Windows-1252 is named" ':2:5: invalid UTF-8, byte 0x92' '--encoding cp1252' cp1252.csv
good "Windows-1252" 'What’s a “café”?| 5 € –' --encoding cp1252 cp1252.csv
silent "Windows-1252: no warning"
"$prep" -f -o out.mpz --encoding latin1 cp1252.csv 2>err && says "as Latin-1 it has control characters" '5 control characters U+0080 to U+009F'
printf 'question,answer\na,\x81\n' | fails "no byte of Windows-1252" ':2:3: no character of Windows-1252, byte 0x81' '' --encoding cp1252
printf 'question,answer\na,caf\xe9\n' | fails "Latin-1 is named" 'byte 0xe9' '--encoding latin1'
printf 'q\0u\0e\0,\0a\0\n\0' | fails "UTF-16 without a mark" 'NUL byte' 'iconv -f UTF-16LE -t UTF-8'
printf '\0q\0u\0e\0,\0a\0\n' | fails "big-endian UTF-16 without a mark" 'NUL byte' 'iconv -f UTF-16BE -t UTF-8'
printf '{"question":"a","answer":"x\\u0000y"}\n' | fails "NUL in a JSON string" 'a string holds a NUL character' "sed 's/\\\\u0000//g'"

# ---- columns ----
printf 'question,answer,,\na,b,,\n' | good "columns without a name" 'a| b'
printf 'question,x,answer,x\na,1,b,2\n' >twice.csv
good "doubled columns that nobody names" 'a| b' twice.csv
fails "doubled columns that somebody names" "two columns named 'x'" 'rename one' --target '{x}' twice.csv
fails "doubled columns for a filter" "two columns named 'x'" '' --filter cat twice.csv
printf 'question,answer,,\na,b,,\n' | good "columns without a name and a filter" 'a| b' --filter cat
printf 'question,Answer,ANSWER\na,b,c\n' | fails "names that differ in case alone" "two columns named 'Answer'" "the other is 'ANSWER'"
{ printf 'question,answer'; printf ',c%d' {1..20000}; echo; printf 'a,b'; printf ',%d' {1..20000}; echo; } | good "20,002 columns" 'a| b'
printf 'sep=;\r\nquestion;answer\r\na,b;c\r\n' | good "Excel's first line names the delimiter" 'a,b| c'
printf 'sep=;\nquestion|answer\na;b|c\n' | good "--delimiter goes before it" 'a;b| c' --delimiter '|'
printf 'question;answer\nA, B or C?;B\n' | fails "semicolons, ragged" 'row of 2 fields' "--delimiter ';'"
printf 'question;answer\na;b\n' | fails "semicolons, one column" "no column 'question'" "--delimiter ';'"
printf 'question,answer\na,b\n   \n\t\nc,d\n' | good "lines of blanks are no rows" $'a| b\nc| d'
printf 'What is one?,uno\nc,d\n' | fails "no header" "no column 'question'" '--columns question,answer'

printf 'question,answer\n' | fails "--dry-run of a header alone" 'no rows' 'E-NOROWS' -n

# ---- fields that may be absent ----
printf '{"instruction":"Sum","input":"1 2","output":"3"}\n{"instruction":"Say","output":"hi"}\n{"instruction":"Go","input":null,"output":"ok"}\n' >alpaca.jsonl
good "absent and null fields" $'Sum\\n1 2\\n| 3\nSay\\n\\n| hi\nGo\\n\\n| ok' --prompt '{instruction}\n{input?}\n' --target ' {output}' alpaca.jsonl
silent "absent fields: no warning"
sed 2d alpaca.jsonl | fails "null elsewhere" "<stdin>:2: 'input' is a null, expected text" '{input?} in the template is empty there' --prompt '{instruction}' --target '{input}'
good "a column that no row has" $'Sum|3\nSay|hi\nGo|ok' --prompt '{instruction}{inptu?}' --target '{output}' alpaca.jsonl
says "a column that no row has" "no row has a column 'inptu'"
printf 'is it?,answer\na,b\n' | good "a name that ends in a question mark" 'a| b' --prompt '{is it?}'
printf '{"question":"a","answer":null}\n{"question":"c","answer":"d"}\n' | good "a null answer is a blank one" 'c| d' --target ' {answer?}'
says "a null answer is counted" 'in=2 out=1 dropped=1 reason=empty_target:1'

# ---- between prompt and target ----
chatml=(--prompt '<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n' --target '{answer}')
printf 'question,answer\na,b\n' >ab.csv
"$prep" -f -o out.mpz "${chatml[@]}" ab.csv 2>err; silent "the line break of a template is no mistake"
"$prep" -f -o out.mpz --prompt '[INST]{question}[/INST]' --target '{answer}' ab.csv 2>err; silent "nor is the bracket of a special token"
"$prep" -f -o out.mpz --prompt '{question} ' --target '{answer}' ab.csv 2>err; says "a prompt that ends in a blank" '1 prompts end in white space'
"$prep" -f -o out.mpz --prompt '{question}' --target '{answer}' ab.csv 2>err; says "words that may fuse" '1 targets do not begin with white space'
printf '{"prompt":"a?","completion":" b"}\n' | good "blanks of template and column" 'a?|  b' --columns prompt,completion
says "blanks of template and column" '1 rows have two blanks between prompt and target'
"$prep" -f -o out.mpz --prompt '{question} ' --target ' {answer}' ab.csv 2>err; says "blanks of both templates" '1 rows have two blanks'

# ---- forms of other trainers ----
printf '{"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n' >messages.jsonl
printf '{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Hello"}]}\n' >sharegpt.jsonl
printf '{"prompt":[{"role":"user","content":"a?"}],"completion":[{"role":"assistant","content":"b"}]}\n' >trl.jsonl
for f in messages sharegpt trl; do
    fails "$f: chat" "no column 'question'" "chat data is read through a filter" $f.jsonl
    sed -n 's/^peft-prep: hint: \({parts: .*\)/\1/p' err >chat.jq
    if ! command -v jq >jq; then echo "skip prep.cases: $f: jq is absent"; continue; fi
    "$prep" -q -f -o out.mpz --filter 'jq -c -f chat.jq' $f.jsonl 2>err && "$log" cat out.mpz >got && [ "$(grep -o '"train":true' got | wc -l)" -eq 1 ] && grep -q '<|im_start|>assistant\\n","train":false},{"text":"\(Hello\|b\)<|im_end|>","train":true},{"text":"\\n","train":false}' got && ok "$f: the filter of the hint" || bad "$f: the filter of the hint" "$(cat err got)"
done
fails "chat in a template" "'messages' is a list" "chat data is read through a filter" --prompt '{messages}' --target x messages.jsonl
fails "Alpaca" "no column 'question'" "--prompt '{instruction}\\n{input?}\\n' --target '{output}'" alpaca.jsonl
printf '{"prompt":"a?","completion":" b"}\n' | fails "prompt and completion" "no column" "--prompt '{prompt}' --target '{completion}'"
printf '{"prompt":"a?","chosen":"b","rejected":"c"}\n' | fails "preference pairs" "no column" "no loss for preference pairs"
printf '{"text":"Once."}\n' | fails "texts" "no column" "--prompt '' --target '{text}'"
printf '{"text":"Once."}\n' | good "texts, as the hint says" '|Once.' --prompt '' --target '{text}'
printf '{"context":"C","question":"a?","answers":{"text":["b"],"answer_start":[0]}}\n' >squad.jsonl
fails "SQuAD" "no column 'answer'" "(.answers.text? // .answers)[0]" squad.jsonl
if command -v jq >jq; then good "SQuAD, as the hint says" 'a?| b' --filter "jq -c '.answer = (.answers.text? // .answers)[0]'" squad.jsonl; fi

# ---- binary formats ----
magic() { printf "$2" | { head -c 200; head -c 64 /dev/zero; } | fails "binary: $1" "is $3, expected CSV, TSV or JSON lines" "$4"; }
magic parquet 'PAR1\x15' Parquet 'pandas.read_parquet'
magic arrow 'ARROW1\0\0' 'an Arrow file (Feather)' 'pandas.read_feather'
magic 'arrow stream' '\xff\xff\xff\xff' 'an Arrow stream' 'datasets.Dataset.from_file'
magic xlsx 'PK\x03\x04______________________\x13\0\0\0[Content_Types].xml' 'an Excel workbook or another Office document' 'save it as CSV'
magic zip 'PK\x03\x04______________________\x05\0\0\0a.csv' 'a zip archive' 'unzip -p FILE | peft-prep'
magic bzip2 'BZh91AY' 'compressed with bzip2' 'bzip2 -dc'
magic xz '\xfd7zXZ\0' 'compressed with xz' 'xz -dc'
magic pickle '\x80\x04\x95' 'a Python pickle' 'read_pickle'
magic sqlite 'SQLite format 3\0' 'an SQLite database' 'sqlite3'
printf 'PAR,B\nPKa,b\n' | good "text that begins like them" 'PKa|b' --prompt '{PAR}' --target '{B}'
