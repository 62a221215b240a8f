#!/bin/bash
# tier: fast
# Names and options given to pipelines/qa.mk are text, wherever they come from: what is hostile in them reaches the tools as it is, or
# is refused in one line before anything runs; nothing in them is run. And clean removes what the recipe made, nothing else.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny recipe_names
qa=$PWD/pipelines/qa.mk
mkdir "$t/w" && cd "$t/w" || exit 70
mk() { run make -f "$qa" BIN="$PEFT_BIN/" "$@"; }
clean_here() { [ -z "$(find . -name 'PWNED*')" ]; } # nothing was run
rows() { peft-log cat "$1" | wc -l; }

# ---- names that work: what a shell or make would take for more than a name ----
for name in 'my table.csv' "it's.csv" 'a;touch PWNED1.csv' 'a$(touch PWNED2)`touch PWNED3`.csv' 'a$(shell touch PWNED4).csv' 'a:b%c#d.csv' '-f.csv' 'a"b\c*?.csv'; do
    cp "$t/qa.csv" "./$name"
    mk CSV="$name" OUT=o split
    is "works: $name" [ "$rc" = 0 -a "$(rows o/data/test.mpz)" = 7 -a -s o/data/train.mpz ]
done
run env CSV='a$(shell touch PWNED4).csv' make -f "$qa" BIN="$PEFT_BIN/" OUT=o split
is 'works from the environment' [ "$rc" = 0 ]
mkdir 'the model'
cp "$t/s.gguf" 'the model/s;touch PWNED5 $(shell touch PWNED6) `touch PWNED7`.gguf'
model=$(echo 'the model'/*)
mk CSV='my table.csv' MODEL="$model" OUT=o tokens
is 'model: works' [ "$rc" = 0 -a -s o/tokens/test.mpz ]
printf 'dataset:\n  path: "a;touch PWNED1.csv"\nmodel: {name_or_path: "%s"}\n' "$model" >'c f;touch PWNED8.yaml'
mk CONFIG='c f;touch PWNED8.yaml' OUT=oc tokens
is 'configuration: works' [ "$rc" = 0 -a -s oc/tokens/test.mpz ]
is 'nothing was run' clean_here

# ---- values that are refused, in one line and before a stage has run ----
no() { # no NAME PATTERN VARIABLE=VALUE...
    local name=$1 pattern=$2
    shift 2
    rm -rf n
    mk OUT=n MODEL="$t/s.gguf" CSV="$t/qa.csv" "$@" tokens
    is "refused: $name" [ "$rc" = 2 -a "$(grep -cE -e "$pattern" "$t/err")" = 1 -a ! -e n/data ]
}
no 'a CSV that is not there' 'CSV=qa.csv.;.* no such file' CSV='qa.csv; rm PRECIOUS'
no 'a model that is not there' 'MODEL=some/name: no such file' MODEL=some/name
no 'a configuration that is not there' 'CONFIG=x: no such file' CONFIG=x
no 'a space in OUT' "OUT='a b': white space" OUT='a b'
no 'a command in OUT' "OUT='a;touch" OUT='a;touch'
no 'an expansion in OUT' "OUT='.\(shell" OUT='$(shell touch PWNED9)'
no 'an empty OUT' 'OUT is empty' OUT=
no 'an OUT with a dash first' "OUT='-x'" OUT=-x
no 'a command among options' '--test-size: found .0.2;touch' PREP='--test-size 0.2;touch PWNED10'
no 'an open quote' 'a quote is not closed' PREP="--prompt 'Q: {question}"
# Words that are no options are more inputs of the stage, by name.
rm -rf n
mk OUT=n MODEL="$t/s.gguf" CSV="$t/qa.csv" TOK='a b $(shell touch PWNED11) `touch PWNED12`' tokens
is 'refused: an operand among options' [ "$rc" = 2 -a "$(grep -c 'peft-tok: error: a: cannot open' "$t/err")" = 1 -a ! -s n/tokens/train.mpz ]
rm -rf n
printf 'dataset: {path: "%s/qa.csv;touch PWNED13"}\nmodel: {name_or_path: "s.gguf`touch${IFS}PWNED14`"}\n' "$t" >evil.yaml
run make -f "$qa" BIN="$PEFT_BIN/" CONFIG=evil.yaml OUT=n tokens
is 'refused: commands in a configuration' [ "$rc" = 2 -a ! -e n/data ]
is 'nothing was run by what was refused' clean_here
# the quick start hands names on: make must not expand them there either
cp "$qa" "${qa%/*}/rules.mk" "${qa%/*}/lib.sh" . && mkdir scripts && printf '#!/bin/sh\nprintf "%%s" "$CSV" >got\n' >scripts/quickstart.sh && chmod +x scripts/quickstart.sh
run make -f "${qa%/*/*}/Makefile" quickstart CSV='x $(shell touch PWNED15);touch PWNED16'
is 'quickstart: works' [ "$(cat got)" = 'x $(shell touch PWNED15);touch PWNED16' ] 
is 'quickstart: nothing was run' clean_here
# options: quotes group, nothing else happens to a word
mk CSV='my table.csv' OUT=o PREP="--prompt 'Q  {question} \$HOME *\\nA:' --test-size \"0.2\"" split
is 'options are words' grep -qF 'Q  {question} $HOME *\\nA:' o/options/prep

# ---- clean ----
list() { find . -type f | sort; }
list >"$t/before"
mk MODEL="$t/s.gguf" CSV="$t/qa.csv" OUT=. EVAL='--metrics em --max-new-tokens 2' TRAIN='--max-steps 1 --eval-metrics none'
is 'OUT=. works' [ "$rc" = 0 -a -s merged/config.json ]
echo precious >data/mine.csv
echo precious >merged/notes.txt
mk OUT=. clean
is 'clean leaves the files of others, and removes all else' cmp <(sort "$t/before" <(printf './%s\n' data/mine.csv merged/notes.txt)) <(list)
is 'clean removes what was made' [ "$rc" = 0 -a ! -e tokens -a ! -e run -a ! -e options -a ! -e time ]
mk OUT=o clean
is 'clean removes an empty directory' [ "$rc" = 0 -a ! -e o ]
mkdir "$t/w/keep" && echo precious >keep/x
mk OUT=keep clean
is 'clean takes no other directory' [ -s keep/x ]

# ---- an installed copy finds its tools and its example ----
cd "${qa%/*/*}" || exit 70
run make -s -o all B="$PEFT_BUILD" DESTDIR="$t/i" PREFIX=/usr install
cd "$t/w" || exit 70
installed() { run env PATH=/usr/bin:/bin make -f "$t/i/usr/share/peft/pipelines/qa.mk" "$@"; }
installed OUT=oi MODEL="$t/s.gguf" tokens
is 'installed: works' [ "$rc" = 0 -a -s oi/tokens/test.mpz ]
installed help
is 'installed: help' grep -q '^Targets: ' "$t/out"
