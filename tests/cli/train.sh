#!/bin/bash
# tier: fast
# peft-train as its user meets it, on a tiny model: what is refused, with which code and without a trace; what must not change the
# adapter and what must; the run directory, --resume, the metrics stream, configuration and environment.
# (Interruptions: tests/fault/kill_train.sh.)
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny train
m=$t/s.gguf tr=$t/tr.mpz te=$t/te.mpz new=$t/new
fit() { # fit RUN [OPTION]...: a short run; its metrics go to RUN.mpz
    local run=$1
    shift
    peft-train -q -m "$m" -o "$run" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 "$@" "$tr" >"$run.mpz"
}
adapter_is() { cmp "$1/adapter/adapter_model.safetensors" "$2/adapter/adapter_model.safetensors"; }
tensors() { # names in the adapter of a run
    python3 -c 'import json, struct, sys
f = open(sys.argv[1], "rb"); n, = struct.unpack("<Q", f.read(8)); print("\n".join(sorted(k for k in json.loads(f.read(n)) if k[0] != "_")))' "$1/adapter/adapter_model.safetensors"
}

# ---- refused ----
refused no_model 64 E-USAGE 'no base model' peft-train -o "$new" "$tr"
refused no_output 64 E-USAGE 'no run directory' peft-train -m "$m" "$tr"
refused model_absent 66 E-NOINPUT 'nowhere.gguf' peft-train -m "$t/nowhere.gguf" -o "$new" "$tr"
# The same model with one key more. Weights and tokenizer are the same, so only that key can be what is refused.
with_key() { # with_key FILE PYTHON
    sed "s/^txt(\"tokenizer.ggml.model\".*/&; $2/" tests/parity/stories260k_gguf.py >"$t/with_key.py" &&
        python3 "$t/with_key.py" "$PEFT_DATA"/models/stories260K/{stories260K,tok512}.bin "$1"
}
with_key "$t/other.gguf" 'txt("llama.rope.scaling.type", "dynamic"); f32("llama.rope.scaling.factor", 4.0)'
with_key "$t/window.gguf" 'u32("llama.attention.sliding_window", 8)'
with_key "$t/wide.gguf" 'u32("llama.attention.sliding_window", 500)'
refused scaling_not_computed 76 E-ARCH "llama.rope.scaling.type is 'dynamic'" peft-train -m "$t/other.gguf" -o "$new" "$tr"
refused rows_beyond_window 76 E-ARCH 'sliding window of 8' peft-train -m "$t/window.gguf" -o "$new" "$tr"
refused scores_beyond_window 76 E-ARCH 'sliding window of 8' peft-eval -m "$t/window.gguf" -o "$new" "$te"
run peft-train -q -m "$t/wide.gguf" --plan "$tr"
is rows_within_window [ "$rc" = 0 -a ! -s "$t/err" ]
{
    echo question,answer
    printf 'what does %s,ball\n' "$(printf 'Lily see %.0s' $(seq 300))"
} | peft-prep -q | peft-tok -q -m "$m" -o "$t/long.mpz"
refused row_too_long 65 E-MISMATCH 'longest row has [0-9]+ tokens, the model was made for 512' peft-train -m "$m" -o "$new" "$t/long.mpz"
refused row_too_long_to_score 65 E-MISMATCH 'longest row' peft-eval -m "$m" -o "$new" "$t/long.mpz"
refused input_absent 66 E-NOINPUT 'nowhere.mpz' peft-train -m "$m" -o "$new" "$t/nowhere.mpz"
refused option_unknown 64 E-USAGE 'lora-r' peft-train -m "$m" -o "$new" --lora-rr 8 "$tr"
refused option_type 64 E-USAGE "found 'x', expected a number" peft-train -m "$m" -o "$new" --lr x "$tr"
refused option_range 64 E-USAGE 'from 1 to 1024' peft-train -m "$m" -o "$new" --lora-r 0 "$tr"
refused rate_absurd 64 E-USAGE 'from 0 to 100' peft-train -m "$m" -o "$new" --lr 1e30 "$tr"
refused metric_unknown 64 E-USAGE 'no such figure' peft-train -m "$m" -o "$new" -e "$te" --metric eval_nothing "$tr"
is metric_unknown_hint grep -q "eval_loss, eval_exact_match, .*eval_rouge_l, eval_perplexity" "$t/err"
refused metric_without_rows 64 E-USAGE '-e EVAL.mpz' peft-train -m "$m" -o "$new" --metric eval_loss "$tr"
refused method_unknown 78 E-CONFIG 'methods: lora' peft-train -m "$m" -o "$new" --method lorra "$tr"
refused module_unknown 78 E-TARGET 'did you mean q_proj' peft-train -m "$m" -o "$new" --target-modules q_prj "$tr"
refused module_none 78 E-TARGET 'target_modules' peft-train -m "$m" -o "$new" --target-modules 'model\.layers\.9\d\..*' "$tr"
refused expression_bad 78 E-TARGET 'target_modules' peft-train -m "$m" -o "$new" --target-modules '(q_proj' "$tr"
printf 'training:\n  learning_rat: 1e-3\n' >"$t/c.yaml"
refused key_unknown 78 E-CONFIG 'c.yaml:2.*learning_rate' peft-train -m "$m" -o "$new" -c "$t/c.yaml" "$tr"
# names of other trainers, answered with those here
foreign() { # foreign NAME CONFIG HINT...: every hint stands in the messages
    printf "$2" >"$t/c.yaml"
    run peft-train -m "$m" -o "$new" -c "$t/c.yaml" "$tr"
    local h why=""
    for h in "${@:3}"; do grep -qF -- "$h" "$t/err" || why+="no '$h'; "; done
    is "foreign_$1" [ "$rc" = 78 -a -z "$why" ]
}
foreign trl 'model_name_or_path: x\nlora_target_modules: all-linear\nlora_r: 4\noutput_dir: o\n' 'here it is model.name_or_path' 'here it is peft.target_modules' 'here it is peft.lora.r' 'peft-train -o RUN'
foreign axolotl 'base_model: x\nmicro_batch_size: 2\nnum_epochs: 3\nlr_scheduler: cosine\nsequence_len: 9\n' 'model.name_or_path' \
    'training.per_device_train_batch_size' 'training.num_train_epochs' 'training.lr_scheduler_type' 'tokenizer.max_len'
foreign factory 'lora_rank: 8\nlora_target: all\nfinetuning_type: lora\n' 'here it is peft.lora.r' 'here it is peft.target_modules' 'here it is peft.method'
foreign best 'training: {metric_for_best_model: loss}\nearly_stopping_patience: 3\n' 'callbacks.early_stopping.metric' 'callbacks.early_stopping.patience'
printf 'training: {optim: adamw_torch, report_to: none, save_strategy: epoch, eval_strategy: steps, load_best_model_at_end: true}\n' >"$t/c.yaml"
run peft-train -m "$m" --plan -c "$t/c.yaml" "$tr"
is trainer_keys [ "$rc" = 0 ] && is trainer_keys_noted grep -q 'save_strategy.*save_steps says when' "$t/err"
refused option_of_trainer 64 E-USAGE 'here it is --lr' peft-train -m "$m" -o "$new" --learning_rate 3 "$tr"
refused option_of_trl 64 E-USAGE 'here it is --lora-r' peft-train -m "$m" -o "$new" --lora-rank 3 "$tr"
printf 'peft:\n  lora:\n    r: many\ntraining:\n  fp16: 7\n' >"$t/c.yaml"
run peft-train -m "$m" -o "$new" -c "$t/c.yaml" "$tr"
is value_types [ "$rc" = 78 -a "$(grep -c 'E-CONFIG' "$t/err")" = 2 -a ! -e "$new" ]
refused config_absent 66 E-NOINPUT 'nowhere.yaml' peft-train -m "$m" -o "$new" -c "$t/nowhere.yaml" "$tr"
: >"$t/empty.mpz"
refused stream_empty 65 E-STREAM-CUT 'empty input' peft-train -m "$m" -o "$new" "$t/empty.mpz"
refused stdin_empty 65 E-STREAM-CUT 'empty input' peft-train -m "$m" -o "$new"
refused stream_kind 65 E-STREAM-KIND 'peft-tok makes tokens' peft-train -m "$m" -o "$new" "$t/train.mpz"
refused stream_text 65 E-STREAM-MAGIC 'qa.csv' peft-train -m "$m" -o "$new" "$t/qa.csv"
head -c -30 "$tr" >"$t/cut.mpz"
refused stream_cut 65 E-STREAM-CUT 'without an END record' peft-train -m "$m" -o "$new" "$t/cut.mpz"
refused eval_cut 65 E-STREAM-CUT 'cut.mpz' peft-train -m "$m" -o "$new" -e "$t/cut.mpz" "$tr"
python3 -c 'import sys
b = bytearray(open(sys.argv[1], "rb").read()); b[len(b) // 2] ^= 1; open(sys.argv[2], "wb").write(b)' "$tr" "$t/flip.mpz"
refused stream_damaged 65 E-STREAM-SUM 'flip.mpz' peft-train -m "$m" -o "$new" "$t/flip.mpz"
sed 's/Lily/Lilz/' "$m" >"$t/other.gguf" # another token of the same length
peft-tok -q -m "$t/other.gguf" -o "$t/other.mpz" "$t/train.mpz"
refused other_tokenizer 65 E-MISMATCH 'another tokenizer' peft-train -m "$m" -o "$new" "$t/other.mpz"
refused other_tokenizer_of_eval 65 E-MISMATCH 'other.mpz.*another tokenizer' peft-train -m "$m" -o "$new" -e "$t/other.mpz" "$tr"
refused parent_absent 73 E-CREATE 'make it first: mkdir -p .*/new.d$' peft-train -m "$m" -o "$t/new.d/run" "$tr"
run peft-train -m "$m" -o "$t/lr0" --lr 0 --max-steps 1 "$tr"
is rate_of_zero_warns grep -q 'warning: --lr 0: no step changes anything' "$t/err"
mkdir "$t/mine" && echo precious >"$t/mine/thesis.txt"
refused foreign_directory 73 E-EXISTS 'thesis.txt' peft-train -m "$m" -f -o "$t/mine" "$tr"
is foreign_directory_kept grep -q precious "$t/mine/thesis.txt"

# ---- a run ----
is trains fit "$t/ref" -e "$te" --eval-max-new-tokens 4
run peft-train -q -m "$m" -o "$t/quiet" --max-steps 1 "$tr"
is quiet [ "$rc" = 0 -a ! -s "$t/err" ]
for f in adapter/adapter_config.json adapter/adapter_model.safetensors metrics.mpz telemetry.mpz manifest.json config.yaml checkpoints; do [ -e "$t/ref/$f" ] || echo "FAIL train.run_directory: no $f"; done
peft-log cat "$t/ref.mpz" >"$t/a.json" && peft-log cat "$t/ref/metrics.mpz" >"$t/b.json"
is metrics_stdout_is_metrics_file cmp "$t/a.json" "$t/b.json"
is metrics_learn python3 -c 'import json, sys
x = [json.loads(s)["metrics"] for s in open(sys.argv[1])]; l = [m["loss"] for m in x if "loss" in m]; assert len(l) == 10 and l[-1] < 0.8 * l[0], l' "$t/a.json"
is manifest [ "$(json '[j["steps"], j["rows"], j["stopped_early"], [p["tool"] for p in j["provenance"]]]' "$t/ref/manifest.json")" = "[10, 36, False, ['peft-prep', 'peft-tok']]" ]
is no_absolute_path sh -c "! grep -l '$t' '$t/ref/manifest.json' '$t/a.json'"
is config_of_the_run peft-train -q -c "$t/ref/config.yaml" -o "$t/again" "$tr"
is config_of_the_run_gives_it_again adapter_is "$t/ref" "$t/again"
# ---- telemetry: there, and nowhere else ----
peft-log cat "$t/ref/telemetry.mpz" >"$t/tele.json"
is telemetry python3 - "$t/tele.json" <<'P'
import json, sys
x = [json.loads(s) for s in open(sys.argv[1])]
assert [r["event"] for r in x] == ["start"] + ["train"] * 10 + ["end"] and [r["step"] for r in x] == list(range(11)) + [10], x
assert x[0]["metrics"] == {"total_steps": 10} and all(a["seconds"] <= b["seconds"] for a, b in zip(x, x[1:]))
for r in x[1:]:
    m = r["metrics"]
    assert 0 < m["trained_tokens_per_second"] < m["tokens_per_second"] and 0 < m["seconds_per_step"] < r["seconds"], r
    assert 1 << 20 < m["peak_rss_bytes"] < 1 << 40 and 0 <= m["eval_fraction"] < 1, r
end = x[-1]
assert x[1]["metrics"]["eval_fraction"] == 0 < end["metrics"]["eval_fraction"], "the evaluation is seen"
assert end["metrics"]["seconds_per_step"] * 10 <= end["seconds"] * (1 - end["metrics"]["eval_fraction"]) * 1.0001, end
P
# what the rates are made of: 10 steps of 2 epochs over all tokens
is telemetry_counts_tokens python3 - "$t/tele.json" <(peft-log cat "$tr") <<'P'
import json, sys
records = [json.loads(s)["metrics"] for s in open(sys.argv[1])]
end = records[-1]
rows = [json.loads(s) for s in open(sys.argv[2])]
s = end["seconds_per_step"] * 10
for key, n in ("tokens_per_second", sum(len(r["ids"]) for r in rows)), ("trained_tokens_per_second", sum(sum(r["mask"][1:]) for r in rows)):
    assert abs(end[key] * s - 2 * n) < 1e-6 * n, (key, end[key] * s, 2 * n)
# 36 rows in steps of 8: the fifth has 4
n = [m["tokens_per_second"] * m["seconds_per_step"] for m in records[1:-1]]
assert all(0.4 * n[i] < n[j] < 0.6 * n[i] for i in (3, 5) for j in (4, 9)), n
P
is telemetry_verifies peft-log verify "$t/ref/telemetry.mpz"
is telemetry_is_no_result sh -c "! { peft-log cat '$t/ref/metrics.mpz'; cat '$t/ref.mpz' | zstd -dcq; cat '$t/ref/manifest.json' '$t/ref/config.yaml'; find '$t/ref/checkpoints' '$t/ref/adapter' -type f | xargs cat; } | grep -aE 'telemetry|per_second|per_step\"|peak_rss|eval_fraction'"
is telemetry_tty sh -c "peft-log tty '$t/ref/telemetry.mpz' | grep -qE '^train +step 3 .* s .*tokens_per_second'"
is telemetry_csv sh -c "[ \"\$(peft-log csv '$t/ref/telemetry.mpz' | head -n 1 | tr -d '\r')\" = event,step,seconds,total_steps,tokens_per_second,trained_tokens_per_second,seconds_per_step,eval_fraction,peak_rss_bytes ]"
refused telemetry_is_no_metrics 65 E-STREAM-KIND 'found telemetry' peft-train -m "$m" -o "$new" "$t/ref/telemetry.mpz"
# two runs of one name: all is the same but that file
mkdir "$t/x" "$t/y"
fit "$t/x/run" -e "$te" --eval-max-new-tokens 4 && fit "$t/y/run" -e "$te" --eval-max-new-tokens 4
is telemetry_alone_differs [ "$(diff -rq "$t/x/run" "$t/y/run" | grep -o 'telemetry.mpz' | sort -u) $(diff -rq "$t/x/run" "$t/y/run" | wc -l)" = "telemetry.mpz 1" ]
# a resumed run tells of its own part
cp -r "$t/x/run" "$t/x/half" && rm -r "$t/x/half/manifest.json" "$t/x/half/adapter" "$t/x/half/checkpoints/step-000010"
is telemetry_of_a_resumed_run [ "$(fit "$t/x/half" -e "$te" --eval-max-new-tokens 4 --resume; peft-log cat "$t/x/half/telemetry.mpz" | sed -nE 's/.*"event":"(start|end)","step":([0-9]+).*/\1 \2/p' | tr '\n' ' ')" = "start 5 end 10 " ]
is force_replaces_it [ "$(fit "$t/y/run" -f --max-steps 1; peft-log cat "$t/y/run/telemetry.mpz" | wc -l)" = 3 ]
# the reader of the metrics goes away
run bash -c 'set -o pipefail; peft-train -m "$1" -o "$2" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 "$3" | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}' - "$m" "$t/deaf" "$tr"
is reader_lost [ "$rc" = 0 ]
is reader_lost_same_adapter adapter_is "$t/ref" "$t/deaf"

# ---- plan ----
run peft-train -m "$m" --plan "$tr"
is plan [ "$rc" = 0 ]
is plan_arenas grep -qE '^saved +total' "$t/out"
is plan_sums grep -q 'FLOP a step' "$t/out"
run peft-train -m "$m" -n -o "$new" "$tr"
is dry_run [ "$rc" = 0 -a ! -e "$new" ]
run peft-train -m "$m" --plan --micro-tokens 16777216 "$tr"
is plan_too_large [ "$rc" = 71 ]
is plan_too_large_is_printed grep -qE '^saved +total' "$t/out"
refused too_large 71 E-PLAN 'micro-tokens' peft-train -m "$m" -o "$new" --micro-tokens 16777216 "$tr"

# ---- what must not change the result ----
fit "$t/b8x1" --batch-size 8 --accumulate 1 && fit "$t/b1x8" --batch-size 1 --accumulate 8 && fit "$t/b2x4" --batch-size 2 --accumulate 4
is batch_8x1_is_1x8 adapter_is "$t/b8x1" "$t/b1x8"
is batch_8x1_is_2x4 adapter_is "$t/b8x1" "$t/b2x4"
fit "$t/t1" --threads 1 --lora-dropout 0.1 && fit "$t/t2" --threads 2 --lora-dropout 0.1
is threads_1_is_2 adapter_is "$t/t1" "$t/t2"
is dropout_acts sh -c "! cmp -s '$t/t1/adapter/adapter_model.safetensors' '$t/ref/adapter/adapter_model.safetensors'"
fit "$t/ck" --gradient-checkpointing
is gradient_checkpointing adapter_is "$t/ref" "$t/ck"
fit "$t/ckd" --gradient-checkpointing --lora-dropout 0.1
is gradient_checkpointing_with_dropout adapter_is "$t/t1" "$t/ckd"
losses "$t/b8x1.mpz" >"$t/l.pack"
fit "$t/nopack" --pack no && losses "$t/nopack.mpz" >"$t/l.nopack"
is pack_no_is_close close_to 1e-5 "$t/l.pack" "$t/l.nopack"
fit "$t/m1" --micro-tokens 1 && losses "$t/m1.mpz" >"$t/l.m1"
is micro_tokens_1_is_close close_to 1e-5 "$t/l.pack" "$t/l.m1"
fit "$t/seed" --seed 7
is seed_acts sh -c "! cmp -s '$t/seed/adapter/adapter_model.safetensors' '$t/ref/adapter/adapter_model.safetensors'"

# ---- which modules ----
fit "$t/all" --max-steps 1 --target-modules all-linear
is all_linear [ "$(tensors "$t/all" | wc -l)" = 70 ]
fit "$t/re" --max-steps 1 --target-modules '.*\.layers\.[01]\..*(q|k)_proj'
is expression [ "$(tensors "$t/re" | grep -cE 'layers\.[01]\.self_attn\.[qk]_proj')" = 8 -a "$(tensors "$t/re" | wc -l)" = 8 ]
# as Python's fullmatch has it: sets with classes, counts (a comma is no end of a list there), the true end of the text
matches() { # matches NAME N EXPRESSION: so many projections of the 35
    run peft-train -m "$m" --plan --target-modules "$3" "$tr"
    is "$1" [ "$rc" = 0 ] && is "$1.plan" grep -q "in $2 of 35 projections" "$t/out" && is "$1.note" grep -q "lora: $2 of 35 projections" "$t/err"
}
matches set_of_class 10 '.*\.q_proj|model\.layers\.[\d]+\.mlp\.up_proj'
matches set_of_word 5 '.*\.[q][_][\w]+'
matches end_of_text 5 '.*\.q_proj\Z'
matches count_with_comma 10 'model\.layers\.\d{1,2}\.self_attn\.(q|k)_proj'
matches lookahead 8 '.*\.(?!0\.)\d\.self_attn\.(q|k)_proj'
matches path_ends 2 layers.1.self_attn.q_proj,model.layers.2.mlp.up_proj
fit "$t/comma" --max-steps 1 --target-modules 'model\.layers\.\d{1,2}\.self_attn\.q_proj'
is expression_is_kept grep -q '"target_modules": "model..\.layers..\...d{1,2}..\.self_attn..\.q_proj"' "$t/comma/adapter/adapter_config.json"
is expression_is_read peft-eval -q -m "$m" -a "$t/comma/adapter" --metrics ppl --json "$te"
refused expression_embedding 78 E-TARGET 'also matches model.embed_tokens' peft-train -m "$m" -o "$new" --target-modules '.*(q_proj|embed_tokens)' "$tr"
refused expression_block 78 E-TARGET 'also matches model.layers.0.self_attn,' peft-train -m "$m" -o "$new" --target-modules '.*\.self_attn.*' "$tr"
refused expression_not_python 78 E-TARGET 'this escape is not supported' peft-train -m "$m" -o "$new" --target-modules '.*\h.*' "$tr"
refused expression_endless 78 E-TARGET 'too many steps' peft-train -m "$m" -o "$new" --target-modules '(([a-z._\d]+)+)+[A-Z]' "$tr"
fit "$t/names" --max-steps 1 --target-modules o_proj,down_proj
is names [ "$(tensors "$t/names" | grep -cE '(o|down)_proj')" = 20 ]

# ---- a base held in 4 bits: 6 of the 7 matrices of a layer, the seventh has rows of 172 ----
run peft-train -m "$m" -o "$t/nf4" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 --quantize nf4 --threads 1 "$tr"
cp "$t/out" "$t/nf4.mpz"
is quantize [ "$rc" = 0 ]
is quantize_note grep -q '5 of 35 matrices .* stay as stored' "$t/err"
is quantize_trains fit "$t/nf4b" --quantize nf4 --threads 2
is quantize_threads adapter_is "$t/nf4" "$t/nf4b"
is quantize_is_another_base [ "$(cmp -s "$t/nf4/adapter/adapter_model.safetensors" "$t/b8x1/adapter/adapter_model.safetensors"; echo $?)" = 1 ]
losses "$t/b8x1.mpz" >"$t/l.b8" && losses "$t/nf4.mpz" >"$t/l.nf4"
is quantize_near close_to 0.15 "$t/l.b8" "$t/l.nf4"
is quantize_in_the_manifest [ "$(json 'j["base_quantize"]' "$t/nf4/manifest.json") $(json 'j["base_quantize"]' "$t/b8x1/manifest.json")" = "nf4 none" ]
run peft-merge -m "$m" -a "$t/nf4" -o "$t/nf4.gguf"
is quantize_merged_says_so grep -q 'note: .*nf4/adapter was trained on a base held in nf4, and is merged into' "$t/err"
printf 'model:\n  load_in_4bit: true\n  bnb_4bit_quant_type: nf4\n' >"$t/c.yaml"
is quantize_by_other_names fit "$t/nf4c" -c "$t/c.yaml"
is quantize_by_other_names_is_it adapter_is "$t/nf4" "$t/nf4c"
rm -r "$t/nf4b/manifest.json" "$t/nf4b/adapter" "$t/nf4b/checkpoints/$(ls "$t/nf4b/checkpoints" | tail -n 1)"
is quantize_resumes fit "$t/nf4b" --quantize nf4 --resume
is quantize_resume_is_the_same adapter_is "$t/nf4" "$t/nf4b"
refused quantize_resume_without 65 E-MISMATCH 'other options' peft-train -m "$m" -o "$t/nf4" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 --resume "$tr"
run peft-eval -m "$m" -a "$t/nf4/adapter" --metrics ppl --json "$te"
is quantize_eval_note grep -q -- '--quantize nf4' "$t/err"
run peft-eval -m "$m" -a "$t/nf4/adapter" --quantize nf4 --metrics ppl --json "$te"
is quantize_eval [ "$rc" = 0 -a "$(grep -c -- '--quantize' "$t/err")" = 0 ]

# ---- from an adapter ----
fit "$t/more" --init-adapter "$t/ref/adapter"
is init_adapter python3 -c 'import sys
a, b = ([float(x) for x in open(f)] for f in sys.argv[1:]); assert b[0] < 0.9 * a[0] and b[-1] < a[-1], (a, b)' "$t/l.pack" <(losses "$t/more.mpz")
run peft-train -m "$m" -o "$t/rank" --max-steps 1 --init-adapter "$t/ref/adapter" --lora-r 4 "$tr"
is init_adapter_keeps_its_rank grep -q 'lora-r' "$t/err"
refused init_adapter_absent 66 E-NOINPUT 'nowhere' peft-train -m "$m" -o "$new" --init-adapter "$t/nowhere" "$tr"
refused init_adapter_of_other_base 65 E-MISMATCH 'force-base' peft-train -m "$t/other.gguf" -o "$new" --init-adapter "$t/ref/adapter" "$t/other.mpz"
run peft-train -q -m "$t/other.gguf" -o "$t/fb" --max-steps 1 --init-adapter "$t/ref/adapter" --force-base "$t/other.mpz"
is force_base [ "$rc" = 0 ]

# ---- an existing run ----
sums "$t/b8x1" >"$t/before"
is_untouched() { sums "$t/b8x1" | diff "$t/before" -; }
refused exists 73 E-EXISTS '--resume continues it' peft-train -m "$m" -o "$t/b8x1" "$tr"
is exists_untouched is_untouched
refused force_with_a_mistake 66 E-NOINPUT nowhere peft-train -f -m "$t/nowhere.gguf" -o "$t/b8x1" "$tr"
is force_with_a_mistake_untouched is_untouched
run peft-train -m "$m" -o "$t/b8x1" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 --batch-size 8 --resume "$tr"
is resume_finished [ "$rc" = 0 ]
is resume_finished_says_so grep -q 'finished already' "$t/err"
is resume_finished_untouched is_untouched
refused resume_other_options 65 E-MISMATCH 'other options.*: --lr is 0.004, was 0.005 ' peft-train -m "$m" -o "$t/b8x1" --precision f32 --lr 4e-3 --epochs 2 --logging-steps 1 --batch-size 8 --resume "$tr"
refused resume_other_data 65 E-MISMATCH 'other options, data.*: the training data differs ' peft-train -m "$m" -o "$t/b8x1" --precision f32 --lr 5e-3 --epochs 2 --logging-steps 1 --batch-size 8 --resume "$te"
is resume_other_untouched is_untouched
is resume_of_nothing_starts fit "$t/fresh" --resume --batch-size 8
is resume_of_nothing_is_a_start adapter_is "$t/fresh" "$t/b8x1"
is force_starts_over fit "$t/seed" -f
is force_gives_the_new_run adapter_is "$t/seed" "$t/ref"

# ---- the precision that a run began with ----
run peft-train -m "$m" --plan "$tr"
is precision_of_a_plan grep -qE '^device .*, matrix products in (f32|bf16): this CPU' "$t/out"
begin() { peft-train -m "$m" -o "$1" --lr 5e-3 --epochs 2 "${@:2}" "$tr" >"$1.mpz" 2>"$t/err"; }
for p in f32 bf16; do
    begin "$t/$p" --precision $p
    is precision_asked_for_$p [ "$(grep -c 'matrix products' "$t/err") $(json 'j["precision"]' "$t/$p/manifest.json")" = "0 $p" ]
    begin "$t/$p" --resume
    is precision_of_a_finished_run_$p grep -q 'finished already' "$t/err"
    cp "$t/$p/adapter/adapter_model.safetensors" "$t/$p.want"
    rm -r "$t/$p/manifest.json" "$t/$p/adapter" "$t/$p/checkpoints/$(ls "$t/$p/checkpoints" | tail -n 1)"
    begin "$t/$p" --resume
    is precision_resumed_$p grep -q "matrix products in $p: as the run began" "$t/err"
    is precision_resumed_${p}_is_the_same cmp "$t/$p.want" "$t/$p/adapter/adapter_model.safetensors"
done
for o in --keep=5 --save-steps=3 --eval-batch-size=2 --device=cpu --force-base --threads=1 "--model=$t/./s.gguf"; do
    begin "$t/f32" --resume "$o"
    is "resume_is_free_${o%%=*}" grep -q 'finished already' "$t/err"
done
for o in --micro-tokens=999 --logging-steps=3 --warmup-steps=1 --lora-alpha=3 --max-skips=4; do
    refused "resume_is_bound_${o%%=*}" 65 E-MISMATCH "other options.*: ${o%%=*} is ${o##*=}, was " peft-train -m "$m" -o "$t/f32" --lr 5e-3 --epochs 2 --resume "$o" "$tr"
done
refused precision_other 65 E-MISMATCH 'other options.*: --precision is f32, was bf16 ' peft-train -m "$m" -o "$t/bf16" --lr 5e-3 --epochs 2 --precision f32 --resume "$tr"

# ---- what is not finite ----
last_weights() { # last_weights FILE N BYTES: the model with its last N values, f32, so
    python3 -c 'import sys; b = open(sys.argv[2], "rb").read(); n = int(sys.argv[3]); open(sys.argv[1], "wb").write(b[:-4 * n] + bytes.fromhex(sys.argv[4]) * n)' "$1" "$m" "$2" "$3"
}
# A base with a value that is none is refused by every tool that computes with it, by the tensor's name.
last_weights "$t/nan.gguf" 1 0000c07f && last_weights "$t/minus.gguf" 1 000080ff
bad="'output_norm.weight': value 63 is infinite or NaN"
refused nan_base 65 E-GGUF "$bad" peft-train -m "$t/nan.gguf" -o "$new" "$tr"
refused inf_base 65 E-GGUF "$bad" peft-train -m "$t/minus.gguf" -o "$new" "$tr"
refused nan_base_eval 65 E-GGUF "$bad" peft-eval -m "$t/nan.gguf" --metrics em,ppl --min em=0 -o "$new.mpz" "$te"
refused nan_base_merge 65 E-GGUF "$bad" peft-merge -f -m "$t/nan.gguf" -a "$t/all/adapter" -o "$new"
# One of finite values whose sums overflow: no score, no adapter.
last_weights "$t/inf.gguf" 64 ffff7f7f
refused overflow_loss 80 E-DIVERGED 'loss of the rows .* is infinite or NaN' peft-eval -m "$t/inf.gguf" --metrics ppl,em --min em=0 -o "$new.mpz" "$te"
refused overflow_logits 80 E-DIVERGED 'logits are infinite or NaN' peft-eval -m "$t/inf.gguf" --metrics em --min em=0 -o "$new.mpz" "$te"
run peft-train -m "$t/inf.gguf" -o "$t/nan" --logging-steps 1 --epochs 9 "$tr"
cp "$t/out" "$t/nan.mpz"
is nan_exit [ "$rc" = 80 ]
is nan_id grep -q 'E-DIVERGED' "$t/err"
run peft-train -m "$t/inf.gguf" -o "$t/nan2" --logging-steps 1 --max-steps 2 "$tr"
is nan_in_a_short_run [ "$rc" = 80 ]
is nan_no_adapter [ ! -e "$t/nan/adapter" -a ! -e "$t/nan/manifest.json" -a ! -e "$t/nan2/adapter" ]
is nan_nowhere_in_checkpoints python3 - "$t/nan" "$t/nan2" <<'P'
import glob, json, math, struct, sys
for f in [f for d in sys.argv[1:] for f in glob.glob(d + "/checkpoints/**/*.safetensors", recursive=True)]:
    b = open(f, "rb").read()
    n, = struct.unpack_from("<Q", b)
    assert all(math.isfinite(x) for x, in struct.iter_unpack("<f", b[8 + n:])), f
P
peft-log cat "$t/nan.mpz" >"$t/nan.json" 2>"$t/err"
peft-log cat "$t/nan/telemetry.mpz" >/dev/null 2>"$t/err2"
is nan_telemetry_aborted grep -q 'E-STREAM-ABORT' "$t/err2"
is nan_stream_aborted grep -q 'E-STREAM-ABORT' "$t/err"
is nan_steps_counted grep -q steps_skipped "$t/nan.json"
is nan_nowhere_in_metrics sh -c "! grep -qiE 'nan|inf|null' '$t/nan.json'"

# ---- early stopping ----
run fit "$t/stop" -e "$te" --eval-metrics none --metric eval_loss --patience 2 --eval-steps 1 --epochs 20 --lr 0.5 --scheduler constant
is early_stop [ "$(json 'j["stopped_early"] and j["steps"] == j["best_step"] + 2 < 90 and j["metric"] == "eval_loss"' "$t/stop/manifest.json")" = True ]
# the adapter is the one that scored best, not the last
best=$(json 'j["best"]' "$t/stop/manifest.json")
peft-eval -q -m "$m" -a "$t/stop/adapter" --precision f32 --metrics ppl --json "$te" >"$t/e.json"
is early_stop_keeps_the_best python3 -c 'import sys; a, b = map(float, sys.argv[1:]); assert abs(a - b) < 1e-5 * b, (a, b)' "$best" "$(json 'j["loss"]' "$t/e.json")"

# ---- configuration ----
sed "s#runs/model.gguf#$m#" pipelines/config.yaml >"$t/article.yaml"
run peft-train -c "$t/article.yaml" -e "$te" -o "$t/article" --max-steps 2 "$tr"
is article [ "$rc" = 0 ]
is article_fp16_is_bf16 grep -q 'bf16' "$t/err"
is article_values python3 - "$t/article" <<'P'
import json, sys
c = json.load(open(sys.argv[1] + "/adapter/adapter_config.json"))
assert (c["r"], c["lora_alpha"], c["lora_dropout"], sorted(c["target_modules"])) == (8, 16, 0.05, ["q_proj", "v_proj"]), c
P
value() { # value NAME COMMAND...: of --print-config
    local name=$1
    shift
    "$@" --print-config 2>"$t/err" | sed -nE "s/^ *$name: *([^ #]*).*/\1/p" | head -n 1
}
printf 'training:\n  learning_rate: 1e-3\n' >"$t/c.yaml"
lr() { value learning_rate "$@"; }
is print_default [ "$(lr peft-train)" = 0.0002 ]
is config_over_default [ "$(lr peft-train -c "$t/c.yaml")" = 0.001 ]
is set_over_config [ "$(lr peft-train -c "$t/c.yaml" --set training.learning_rate=2e-3)" = 0.002 ]
is environment_over_set [ "$(PEFT_LR=3e-3 lr peft-train -c "$t/c.yaml" --set training.learning_rate=2e-3)" = 0.003 ]
is flag_over_environment [ "$(PEFT_LR=3e-3 lr peft-train --lr 4e-3 -c "$t/c.yaml")" = 0.004 ]
PEFT_LR=x refused environment_wrong 64 E-USAGE PEFT_LR peft-train -m "$m" -o "$new" "$tr"
run peft-train --errors json -m "$m" "$tr"
is errors_json [ "$(head -n 1 "$t/err" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')" = E-USAGE ]
# ---- a plan for a device that is not here
run peft-train -q -m "$t/s.gguf" --plan --device-memory 24G "$tr"
is plan_for_a_card [ "$rc" = 0 ]
need=$(sed -n 's/^in all *\([0-9]*\) bytes.*/\1/p' "$t/out")
run peft-train -q -m "$t/s.gguf" --plan --device-memory "$need" "$tr"
is plan_fits_exactly [ "$rc" = 0 ]
run peft-train -q -m "$t/s.gguf" --plan --device-memory $((need - 1)) "$tr"
is plan_one_byte_short [ "$rc" = 71 ]
is plan_shows_why grep -q -- '--device-memory: needs .*E-PLAN' "$t/err"
is plan_one_byte_short_is_printed grep -qE '^saved +total' "$t/out"
# in all = weights + the adapter's parameters + every arena, each once; of a size that shows when one is missing
run peft-train -q -m "$t/s.gguf" --plan -e "$te" --lora-r 64 --target-modules all-linear --micro-tokens 64 --device-memory 24GiB "$tr"
is plan_counts_all_once python3 - "$t/out" <<'P'
import re, sys
text = open(sys.argv[1]).read()
units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
size = lambda s: float(s.split()[0]) * units[s.split()[1]]
arenas = re.findall(r"^(\w+) +total +(\d+)", text, re.M)
assert [a for a, _ in arenas] == ["adapter", "saved", "scratch", "cache", "scratch"], arenas
arenas = [int(n) for _, n in arenas]
params = 4 * int(re.search(r"^adapter +(\d+) trainable", text, re.M)[1])
total = int(re.search(r"^in all +(\d+) bytes", text, re.M)[1])
parts = re.search(r": weights ([^,]+), adapter and optimizer ([^,]+), training ([^,]+), generation ([^;]+); 24 GiB there", text)
weights, adapter, training, generation = map(size, parts.groups())
near = lambda a, b: abs(a - b) <= 0.05 * b
assert near(total - sum(arenas) - params, weights), (total, arenas, params, weights)
assert near(params + arenas[0], adapter) and params > 0.1 * weights, (params, arenas, adapter)
assert near(arenas[1] + arenas[2], training) and near(arenas[3] + arenas[4], generation), (arenas, parts[0])
listed = size(re.search(r"^weights .* parameters, (\S+ \S+) as stored", text, re.M)[1])
assert near(weights, listed), (weights, listed)
P
refused memory_without_plan 64 E-USAGE 'goes with --plan' peft-train -m "$t/s.gguf" --device-memory 24G -o "$t/new" "$tr"
refused memory_no_size 64 E-USAGE 'expected a size' peft-train -m "$t/s.gguf" --plan --device-memory 24X "$tr"
