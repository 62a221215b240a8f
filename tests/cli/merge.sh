#!/bin/bash
# tier: fast
# peft-merge as its user meets it, on a tiny model: the three outputs compute what base and adapter compute, verification can fail,
# and a wrong base, a missing adapter or an existing output is refused without a trace.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny merge
m=$t/s.gguf te=$t/te.mpz tr=$t/tr.mpz new=$t/new
peft-train -q -m "$m" -o "$t/run" --precision f32 --lr 3e-2 --epochs 15 "$tr" >/dev/null 2>"$t/err" || { echo "FAIL merge: cannot train"; exit 0; }
a=$t/run/adapter
scores() { peft-eval -q --precision f32 --max-new-tokens 16 --metrics em,f1,ppl --json "$@"; }

# ---- refused ----
refused no_adapter 64 E-USAGE 'no adapter' peft-merge -m "$m" -o "$new"
refused no_output 64 E-USAGE 'no output' peft-merge -m "$m" -a "$a"
refused operand 64 E-USAGE 'found operand' peft-merge -m "$m" -a "$a" -o "$new" "$te"
refused adapter_absent 66 E-NOINPUT 'nowhere' peft-merge -m "$m" -a "$t/nowhere" -o "$new"
refused adapter_is_none 65 E-ADAPTER 'adapter_config.json' peft-merge -m "$m" -a "$t" -o "$new"
refused base_absent 66 E-NOINPUT 'nowhere.gguf' peft-merge -m "$t/nowhere.gguf" -a "$a" -o "$new"
refused format_unknown 64 E-USAGE "format" peft-merge -m "$m" -a "$a" -o "$new" --format onnx
sed 's/Lily/Lilz/' "$m" >"$t/other.gguf"
for o in new new.gguf new.pt; do refused "wrong_base_$o" 65 E-MISMATCH 'peft-merge: -f' peft-merge -m "$t/other.gguf" -a "$a" -o "$t/$o"; done
refused verify_absent 66 E-NOINPUT 'nowhere.mpz' peft-merge -m "$m" -a "$a" -o "$new" --verify "$t/nowhere.mpz"
peft-log cat "$te" >"$t/te.json"
refused verify_no_stream 65 E-STREAM-MAGIC 'te.json' peft-merge -m "$m" -a "$a" -o "$new" --verify "$t/te.json"
for o in new new.gguf new.pt; do refused "verify_fails_$o" 1 E-VERIFY 'tolerance' peft-merge -m "$m" -a "$a" -o "$t/$o" --dtype bf16 --verify "$te" --tol 1e-9; done
run peft-merge -n -m "$m" -a "$a" -o "$new" --json
is dry_run [ "$rc" = 0 -a ! -e "$new" ]
is dry_run_counts [ "$(json 'j["merged"]' "$t/out")" = 10 ]

# ---- the three outputs ----
scores -m "$m" -a "$a" "$tr" >"$t/want.json"
for o in hf hf.gguf; do
    run peft-merge -m "$m" -a "$a" -o "$t/$o" --verify "$te" --json
    is "verified_$o" [ "$rc" = 0 ]
    is "verified_${o}_within" [ "$(json 'j["verify"]["rows"] == 4 and j["verify"]["max_abs"] < 1e-3 and j["verify"]["argmax_agreement"] == 1' "$t/out")" = True ]
    scores -m "$t/$o" "$tr" >"$t/$o.json"
    is "scores_of_$o" python3 - "$t/want.json" "$t/$o.json" <<'P'
import json, math, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert a["em"] > 0 and a["em"] == b["em"] and a["f1"] == b["f1"] and math.isclose(a["loss"], b["loss"], rel_tol=1e-4), (a, b)
P
done
for f in config.json generation_config.json model.safetensors; do [ -s "$t/hf/$f" ] || echo "FAIL merge.directory: no $f"; done
is directory_not_tied_to_the_base sh -c "! grep -q '$t' '$t/hf/config.json'"
run peft-merge --ckpt "$t/run" --output "$t/m.pt" --verify "$te"
is ckpt_output [ "$rc" = 0 ]
is ckpt_output_verified grep -q 'largest difference' "$t/err"
is pt_is_an_archive_without_code python3 - "$t/m.pt" <<'P'
import pickletools, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
name = [n for n in z.namelist() if n.endswith("/data.pkl")][0]
calls = {arg for op, arg, _ in pickletools.genops(z.read(name)) if op.name in ("GLOBAL", "STACK_GLOBAL")}
assert calls and all(c is None or c.split()[0] in ("torch", "torch._utils", "collections") for c in calls), calls
assert z.testzip() is None
P
step=$(find "$t/run/checkpoints" -mindepth 1 -maxdepth 1 | sort | tail -n 1)
is ckpt_of_a_step peft-merge -q --ckpt "$step" --output "$t/step.gguf"
is ckpt_of_a_step_is_the_last cmp "$t/step.gguf" "$t/hf.gguf"
run peft-merge -q -m "$m" -a "$a" -o "$t/lossy.gguf" --dtype q8_0 --verify "$te"
is lossy_within_its_tolerance [ "$rc" = 0 ]
is lossy_is_smaller [ "$(stat -c %s "$t/lossy.gguf")" -lt "$(stat -c %s "$t/hf.gguf")" ]
is same_bytes peft-merge -q -m "$m" -a "$a" -o "$t/hf2.gguf" --threads 1
is same_bytes_again cmp "$t/hf2.gguf" "$t/hf.gguf"

# ---- scale, force ----
refused scale_0 65 E-ADAPTER-NOOP '-f merges it' peft-merge -m "$m" -a "$a" -o "$new" --scale 0
run peft-merge -q -f -m "$m" -a "$a" -o "$t/zero" --scale 0
scores -m "$t/zero" "$te" >"$t/z.json" && scores -m "$m" "$te" >"$t/b.json"
is scale_0_is_the_base python3 -c 'import json, math, sys; a, b = (json.load(open(f))["loss"] for f in sys.argv[1:]); assert math.isclose(a, b, rel_tol=1e-5), (a, b)' "$t/z.json" "$t/b.json"
cp -r "$t/zero" "$t/penalty" && sed -i '1s/{/{"repetition_penalty": 1.3,/' "$t/penalty/generation_config.json"
run peft-eval -m "$t/penalty" --metrics ppl --json "$te"
is penalty_is_not_taken_silently grep -q 'note: .*a repetition_penalty of 1.3 is not used here' "$t/err"
sums "$t/hf" >"$t/before"
refused exists 73 E-EXISTS '-f' peft-merge -m "$m" -a "$a" -o "$t/hf" --scale 0.5
refused exists_file 73 E-EXISTS '-f' peft-merge -m "$m" -a "$a" -o "$t/hf.gguf" --scale 0.5
is exists_untouched sh -c "cd '$t/hf' && find . -type f | sort | xargs sha256sum | diff '$t/before' -"
is force peft-merge -q -f -m "$m" -a "$a" -o "$t/hf" --scale 0
is force_gives_the_new_one cmp "$t/hf/model.safetensors" "$t/zero/model.safetensors"
run peft-merge -q -f -m "$t/other.gguf" -a "$a" -o "$t/forced.gguf"
is force_takes_a_wrong_base [ "$rc" = 0 ]
is force_warns grep -q 'used all the same' "$t/err"
is adapter_only peft-merge -q -m "$m" -a "$a" -o "$t/copy" --adapter-only
is adapter_only_is_the_adapter same_tensors "$t/copy" "$a"
