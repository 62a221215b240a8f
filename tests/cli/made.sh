#!/bin/bash
# tier: fast
# What the tools have made is known by its digests: a run or a checkpoint whose adapter was changed, damaged or lost is refused by who
# would use it, peft-merge --check tells of merged directories, and -f replaces nothing that the tools did not make.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny made
m=$t/s.gguf
train() { peft-train -q -m "$m" --threads 1 --max-steps 4 --save-steps 2 --lr 1e-2 --eval-metrics none --precision f32 "$@" "$t/tr.mpz" >/dev/null; }
merge() { peft-merge -q -m "$m" --dtype f32 "$@"; }
# A bit of a value in the middle of the tensors: still finite, still the right shapes.
flip() { python3 -c 'import sys; b = bytearray(open(sys.argv[1], "rb").read()); b[len(b) // 2 & ~3] ^= 0x40; open(sys.argv[1], "wb").write(b)' "$1"; }
train -o "$t/run" || echo 'FAIL made: cannot train'
cp -r "$t/run" "$t/good"
want=$(sums "$t/run" | grep -v telemetry)
is manifest_agrees_with_sha256sum cmp <(python3 -c 'import json, sys
for name, sha in sorted(json.load(open(sys.argv[1]))["files"].items()): print(sha + "  " + name)' "$t/run/manifest.json") \
    <(cd "$t/run" && find adapter config.yaml metrics.mpz -type f | sort | xargs sha256sum)
is eval_takes_a_run peft-eval -q -m "$m" -a "$t/run" --metrics ppl --json "$t/te.mpz"
is eval_takes_a_checkpoint peft-eval -q -m "$m" -a "$t/run/checkpoints/step-000002" --metrics ppl --json "$t/te.mpz"
is train_begins_with_a_run peft-train -q -m "$m" --init-adapter "$t/run" --plan "$t/tr.mpz"
is resume_of_what_is_whole train --resume -o "$t/run"

# ---- a run ----
a=$t/run/adapter
all_refuse() { # all_refuse NAME PATTERN
    refused "$1.eval" 65 E-ADAPTER "$2" peft-eval -m "$m" -a "$a" --metrics ppl --json "$t/te.mpz"
    refused "$1.eval_run" 65 E-ADAPTER "$2" peft-eval -m "$m" -a "$t/run" --metrics ppl --json "$t/te.mpz"
    refused "$1.merge" 65 E-ADAPTER "$2" peft-merge -m "$m" -a "$t/run" -o "$t/new" --verify "$t/te.mpz"
    refused "$1.merge_gguf" 65 E-ADAPTER "$2" peft-merge -m "$m" -a "$t/run" -o "$t/new.gguf"
    refused "$1.init" 65 E-ADAPTER "$2" peft-train -m "$m" --init-adapter "$a" --max-steps 1 -o "$t/new" "$t/tr.mpz"
    refused "$1.resume" 65 E-ADAPTER "$2" train --resume -o "$t/run"
}
flip "$a/adapter_model.safetensors"
all_refuse changed 'adapter_model.safetensors: has another SHA-256'
is a_copy_elsewhere_is_taken_as_it_is cp -r "$a" "$t/copy"
is and_loads peft-eval -q -m "$m" -a "$t/copy" --metrics ppl --json "$t/te.mpz"
is so_does_another_beside_the_runs cp -r "$t/copy" "$t/run/other"
is and_loads_too peft-eval -q -m "$m" -a "$t/run/other" --metrics ppl --json "$t/te.mpz"
rm -r "$t/run/other" "$t/run/manifest.json"
is made_anew_from_the_checkpoint train --resume -o "$t/run"
is the_same_bytes [ "$(sums "$t/run" | grep -v telemetry)" = "$want" ]
sed -i 's/"r": /"r":  /' "$a/adapter_config.json"
all_refuse configuration 'adapter_config.json: has another SHA-256'
rm -r "$a"
refused lost.resume 65 E-ADAPTER 'adapter/README.md: is missing' train --resume -o "$t/run"
for file in config.yaml metrics.mpz; do
    rm -r "$t/run" && cp -r "$t/good" "$t/run"
    echo >>"$t/run/$file"
    refused "$file.resume" 65 E-ADAPTER "$file: has another SHA-256" train --resume -o "$t/run"
done
# an older run has no digests in its manifest: it is taken as it is
rm -r "$t/run" && cp -r "$t/good" "$t/run"
python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); del j["files"]; json.dump(j, open(sys.argv[1], "w"))' "$t/run/manifest.json"
is older_run.eval peft-eval -q -m "$m" -a "$t/run" --metrics ppl --json "$t/te.mpz"
is older_run.resume train --resume -o "$t/run"
# of one that is damaged nothing is taken
for files in '[]' '{"adapter/README.md": 7}' '{"adapter/README.md": "abc"}' '{"adapter/../../qa.csv": "SHA"}' '{"adapter/a\nb": "SHA"}'; do
    python3 -c 'import json, sys
j = json.load(open(sys.argv[1])); j["files"] = json.loads(sys.argv[2].replace("SHA", 64 * "0")); json.dump(j, open(sys.argv[1], "w"))' "$t/run/manifest.json" "$files"
    refused "damaged_manifest $files" 65 E-ADAPTER 'manifest.json: files: .*(expected|is no file)' peft-eval -m "$m" -a "$t/run" --metrics ppl --json "$t/te.mpz"
done
echo '{' >"$t/run/manifest.json"
refused torn_manifest 65 E-ADAPTER 'manifest.json' peft-eval -m "$m" -a "$t/run" --metrics ppl --json "$t/te.mpz"
rm -r "$t/run" && cp -r "$t/good" "$t/run"
flip "$a/trained_rows.bin"
all_refuse trained_rows "trained_rows.bin: has another SHA-256"
# a checkpoint
flip "$t/run/checkpoints/step-000002/adapter/adapter_model.safetensors"
refused checkpoint 65 E-ADAPTER 'has another SHA-256' peft-merge -m "$m" --ckpt "$t/run/checkpoints/step-000002" -o "$t/new"

# ---- a merged directory, and an adapter written alone ----
r=$t/good
merge -a "$r" -o "$t/merged" && merge -a "$r" --adapter-only --format peft -o "$t/alone" || echo 'FAIL made: cannot merge'
is check peft-merge --check "$t/merged"
is check_alone peft-merge --check "$t/alone"
is sha256sum_checks_it_too sh -c 'cd "$1" && sha256sum --quiet -c MANIFEST' _ "$t/merged"
is all_is_listed [ "$(wc -l <"$t/merged/MANIFEST")" = "$(find "$t/merged" -type f ! -name MANIFEST | wc -l)" ]
cp -r "$t/merged" "$t/m2"
flip "$t/m2/model.safetensors"
refused check_changed 1 E-VERIFY 'model.safetensors: has another SHA-256' peft-merge --check "$t/m2"
rm "$t/m2/model.safetensors"
refused check_lost 1 E-VERIFY 'model.safetensors: is missing' peft-merge --check "$t/m2"
cp "$t/merged/model.safetensors" "$t/m2" && touch "$t/m2/notes"
run peft-merge --check "$t/m2"
is check_more [ "$rc" = 0 -a "$(grep -c 'warning: .*notes' "$t/err")" = 1 ]
refused check_none 66 E-NOINPUT 'MANIFEST' peft-merge --check "$t/good"
refused check_and_more 64 E-USAGE 'goes with neither' peft-merge --check "$t/merged" -o "$t/new"

# ---- -f ----
is f_replaces_what_was_made merge -f -a "$r" -o "$t/merged"
is f_replaces_an_adapter merge -f -a "$r" --adapter-only --format peft -o "$t/alone"
mkdir "$t/empty" "$t/home" "$t/hub"
is f_takes_an_empty_one merge -f -a "$r" -o "$t/empty"
echo precious >"$t/home/keep.txt"
cp "$t/good/adapter/"* "$t/hub" # as if from elsewhere: no MANIFEST
echo precious >"$t/merged/keep.txt"
for how in '' '--adapter-only --format peft'; do
    for d in home hub merged; do
        before=$(sums "$t/$d")
        refused "f_foreign_$d $how" 73 E-EXISTS "$d: (was not made by these tools|holds .keep.txt)" peft-merge -f -m "$m" -a "$r" $how -o "$t/$d"
        is "f_untouched_$d $how" [ "$(sums "$t/$d")" = "$before" ]
    done
done
echo precious >"$t/note"
refused f_file 73 E-EXISTS 'note: is a file' peft-merge -f -m "$m" -a "$r" --format hf -o "$t/note"
is f_file_untouched [ "$(cat "$t/note")" = precious ]
cp "$m" "$t/elsewhere.gguf"
refused f_no_stream 73 E-EXISTS "note: is no stream of these tools" peft-prep -f -o "$t/note" "$t/qa.csv"
refused f_model_from_elsewhere 73 E-EXISTS "elsewhere.gguf: is no merged model of these tools" peft-merge -f -m "$m" -a "$r" -o "$t/elsewhere.gguf"
is f_files_untouched [ "$(cat "$t/note") $(cmp "$m" "$t/elsewhere.gguf")" = "precious " ]
is f_replaces_a_merged_model sh -c "peft-merge -q -m \"\$1\" -a \"\$2\" -o \"\$3\" && peft-merge -q -f -m \"\$1\" -a \"\$2\" -o \"\$3\"" _ "$m" "$r" "$t/ours.gguf"
: >"$t/none.mpz"
is f_takes_an_empty_file peft-prep -q -f -o "$t/none.mpz" "$t/qa.csv"
is f_replaces_a_stream peft-prep -q -f -o "$t/none.mpz" "$t/qa.csv"
# what the output is made of is not replaced by it
for c in "prep -f -o $t/qa.csv $t/qa.csv" "prep -f -o $t/qa.csv --input $t/../${t##*/}/qa.csv" "tok -f -m $m -o $t/test.mpz $t/test.mpz" "tok -f -m $m -o $m $t/test.mpz" \
    "merge -f -m $m -a $r -o $m --format gguf" "merge -f -m $m -a $t/alone --adapter-only --format peft -o $t/alone" "eval -f -m $m -a $r -o $t/te.mpz $t/te.mpz" "prep -f --split-to $t $t/train.mpz"; do
    before=$(cat "$m" "$t"/*.mpz "$t/qa.csv" "$t"/alone/* | sha256sum)
    # shellcheck disable=SC2086
    refused "input_is_kept ($c)" 77 E-POLICY 'is an input of this command' peft-$c
    is "input_is_untouched" [ "$(cat "$m" "$t"/*.mpz "$t/qa.csv" "$t"/alone/* | sha256sum)" = "$before" ]
done
