#!/bin/bash
# tier: fast
# However the name of a file is spelled, what is written has the same bytes, and a run is resumed as the one that it is: contents are
# digested, names are notes. What is written says no place on this machine, and calls the base by its name on the hub if it has one.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny spelling
cd "$t" || exit 70
mkdir d e models && cp s.gguf models/s.gguf
all() { # all OUT MODEL CSV PREFIX-OF-OTHERS: every tool, each with an output of its own
    local o=$1 m=$2 csv=$3 p=$4
    mkdir -p "$o"
    peft-prep -q --split train -o "$o/train.mpz" "$csv" && peft-prep -q --split test -o "$o/test.mpz" "$csv" &&
        peft-tok -q -m "$m" -o "$o/tr.mpz" "$p$o/train.mpz" && peft-tok -q --set "model.name_or_path=$m" -o "$o/te.mpz" "$p$o/test.mpz" &&
        peft-train -q -m "$m" -e "$p$o/te.mpz" --max-steps 3 --lr 1e-2 --eval-metrics none --precision f32 -o "$o/run" "$p$o/tr.mpz" >"$o/metrics" &&
        peft-train -q -m "$m" --init-adapter "$p$o/run/adapter" --max-steps 2 --eval-metrics none --precision f32 -o "$o/more" "$p$o/tr.mpz" >/dev/null &&
        peft-eval -q -m "$m" -a "$p$o/run" --metrics em --max-new-tokens 2 -o "$o/said.mpz" "$p$o/te.mpz" &&
        peft-merge -q -m "$m" -a "$p$o/run" -o "$o/merged" && peft-merge -q -m "$m" -a "$p$o/run" -o "$o/m.gguf" &&
        peft-merge -q -m "$m" -a "$p$o/run" --adapter-only --format peft -o "$o/alone"
}
as() { # as NAME MODEL CSV PREFIX: the outputs, made in x, under that name
    local name=$1
    shift
    is "$name" all x "$@"
    mv x "$name"
}
as dotted ./s.gguf ./qa.csv ./
as absolute "$t/s.gguf" "$t/qa.csv" "$t/"
as beside models/../models/../s.gguf d/../qa.csv d/../
as plain s.gguf qa.csv ''
want=$(sums plain | grep -v telemetry)
for o in dotted absolute beside; do
    is "same_bytes.$o" diff <(sums $o | grep -v telemetry) <(echo "$want")
done
is no_place_in_any_output [ -z "$(find plain absolute \( -name '*.mpz' -exec sh -c 'zstd -dcq "$1" | grep -qa "$2"' _ {} "$t" \; -o -type f ! -name '*.mpz' -exec grep -qa "$t" {} \; \) -print)" ]
is resumed_by_another_spelling peft-train -q -m "$t/s.gguf" -e ./plain/te.mpz --max-steps 3 --lr 1e-2 --eval-metrics none --precision f32 --resume -o plain/run "$t/plain/tr.mpz"
cp -r plain/run/adapter other && peft-train -q -m s.gguf --init-adapter plain/run --max-steps 2 --eval-metrics none --precision f32 --resume -o plain/more plain/tr.mpz 2>err
is the_adapter_to_begin_with_too [ $? = 0 ]
peft-train -q -m s.gguf --max-steps 1 --eval-metrics none -o another plain/tr.mpz >/dev/null
refused unless_it_is_another 65 E-MISMATCH 'belong to a run with other options' peft-train -m s.gguf --init-adapter another --max-steps 2 --eval-metrics none --precision f32 --resume -o plain/more plain/tr.mpz

# ---- the name of the base ----
base_of() { json 'j["base_model_name_or_path"]' "$1/adapter/adapter_config.json"; }
is by_its_last_part [ "$(base_of plain/run)" = s.gguf ]
peft-train -q -m s.gguf --base-name org/some-model --max-steps 1 --eval-metrics none -o named plain/tr.mpz >/dev/null
is base_name [ "$(base_of named)" = org/some-model ]
is base_name.readme grep -q '^base_model: "org/some-model"$' named/adapter/README.md
is base_name.manifest [ "$(json 'j["base_name"]' named/manifest.json)" = org/some-model ]
is merged_takes_it_from_the_adapter sh -c 'peft-merge -q -f -m s.gguf -a named -o m2 && grep -q "^base_model: \"org/some-model\"" m2/README.md'
is merged_base_name sh -c 'peft-merge -q -f -m "$0/s.gguf" -a named --base-name mine -o m2 && grep -q "^base_model: \"mine\"" m2/README.md' "$t"
is merged_last_part grep -q '^base_model: "s.gguf"$' absolute/merged/README.md
cp -r absolute/merged hf && sed -i '1s/{/{"_name_or_path": "org\/from-config",/' hf/config.json
snapshot=hub/models--org--from-cache/snapshots/0123
mkdir -p $snapshot && cp absolute/merged/* $snapshot
for m in hf:org/from-config $snapshot:org/from-cache; do
    peft-train -q -m "${m%%:*}" --max-steps 1 --eval-metrics none -f -o ids plain/tr.mpz >/dev/null 2>err
    is "${m##*/}" [ "$(base_of ids)" = "${m##*:}" ]
done

# ---- the manifest ----
man=plain/run/manifest.json
is manifest.options [ "$(json '(j["options"]["training.learning_rate"], j["options"]["training.max_steps"], j["options"]["peft.method"], j["options"]["training.shuffle"])' $man)" = "(0.01, 3, 'lora', True)" ]
sha=$(sha256sum <qa.csv | cut -d' ' -f1)
is manifest.files [ "$(json '[[(f["name"], f["sha256"], f["rows"]) for f in j[k]] for k in ("train_files", "eval_files")]' $man)" = "[[('qa.csv', '$sha', 40)], [('qa.csv', '$sha', 40)]]" ]
