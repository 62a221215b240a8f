#!/bin/bash
# tier: fast
# methods.mk: one table and one picture of all methods; run again it does nothing, a changed line does that line again; clean leaves nothing.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny methods_mk
root=$PWD
cd "$t" || exit 70
printf '# two\nlora --method lora --lora-r 2 --lr 0.01\n\n  ia3 --method ia3 --lr "0.02"\n' >m.txt
mk() { run make -s -f "$root/pipelines/methods.mk" CSV=qa.csv MODEL=s.gguf METHODS=m.txt OUT=o TRAIN='--max-steps 3' TOK= PREP= "$@"; }
mk
is runs [ "$rc" = 0 ]
is table [ "$(cut -f1,4 o/methods.tsv | tr '\t\n' '  ')" = "method parameters base 0 lora 2240 ia3 $(jq .trainable_parameters o/run-ia3/manifest.json) " ]
is bytes_are_of_the_tensors [ "$(awk -F'\t' '$1 == "lora" { print $5 }' o/methods.tsv)" = "$(stat -c %s o/run-lora/adapter/adapter_model.safetensors)" ]
is the_first_is_the_measure_of_time [ "$(awk -F'\t' '$1 == "lora" { print $6 }' o/methods.tsv)" = 1.00 ]
is scores_are_those_of_eval [ "$(awk -F'\t' '$1 == "ia3" { print $3 }' o/methods.tsv)" = "$(peft-eval -q -m s.gguf -a o/run-ia3 --metrics ppl --json o/tokens/test.mpz | jq '.ppl * 1000 | round / 1000' | xargs printf %.3f)" ]
is picture python3 -c 'import sys, xml.dom.minidom as x; d = x.parse(sys.argv[1]); sys.exit(len(d.getElementsByTagName("rect")) != 3)' o/methods.svg
before=$(stat -c '%Y %i' o/run-lora/manifest.json o/run-ia3/manifest.json)
mk
is again_nothing [ "$before" = "$(stat -c '%Y %i' o/run-lora/manifest.json o/run-ia3/manifest.json)" ]
sed -i 's/"0.02"/0.03/' m.txt
mk
is one_line_again [ "$rc" = 0 -a "$(jq '.options["training.learning_rate"]' o/run-ia3/manifest.json)" = 0.03 -a "$(stat -c '%Y %i' o/run-lora/manifest.json)" = "$(head -n 1 <<<"$before")" ]
mk clean
is clean_leaves_nothing [ ! -e o ]
echo 'a;b --method lora' >m.txt
mk
is bad_name [ "$rc" != 0 -a "$(grep -c 'cannot be a name' err)" = 1 ]
printf 'x --method lora\nx --method ia3\n' >m.txt
mk
is doubled_name [ "$rc" != 0 -a "$(grep -c 'x stands there twice' err)" = 1 ]
printf 'x --method lora --lora-r zero\n' >m.txt
mk
is told_before_anything_runs [ "$rc" != 0 -a "$(grep -c "lora-r" err)" = 1 -a ! -e o/data/train.mpz ]
