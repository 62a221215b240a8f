#!/bin/bash
# tier: fast
# peft-eval as its user meets it, on a tiny model with a trained adapter: scores, predictions, --min, --prompt, --logits, sampling, what is
# refused and that nothing is left behind then.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny eval
m=$t/s.gguf te=$t/te.mpz tr=$t/tr.mpz new=$t/new
peft-train -q -m "$m" -o "$t/run" --precision f32 --lr 3e-2 --epochs 15 "$tr" >/dev/null 2>"$t/err" || { echo "FAIL eval: cannot train"; exit 0; }
a=$t/run/adapter
ev() { peft-eval -q -m "$m" -a "$a" --precision f32 --max-new-tokens 16 "$@"; }
rows() { peft-log cat "$1"; }

# ---- refused ----
refused no_model 64 E-USAGE 'no model' peft-eval "$te"
refused model_absent 66 E-NOINPUT 'nowhere' peft-eval -m "$t/nowhere" "$te"
refused input_absent 66 E-NOINPUT 'nowhere.mpz' peft-eval -m "$m" "$t/nowhere.mpz"
refused adapter_absent 66 E-NOINPUT 'nowhere' peft-eval -m "$m" -a "$t/nowhere" "$te"
refused metric_unknown 64 E-USAGE 'did you mean bleu' peft-eval -m "$m" --metrics blue "$te"
refused metric_unlike_any 64 E-USAGE 'metrics: em, f1, bleu, rouge, ppl' peft-eval -m "$m" --metrics accuracyish "$te"
refused min_syntax 64 E-USAGE 'em=80' peft-eval -m "$m" --min em "$te"
refused min_not_computed 64 E-USAGE 'add rouge' peft-eval -m "$m" --min rouge_l=3 "$te"
refused output_without_texts 64 E-USAGE 'no predictions' peft-eval -m "$m" --metrics ppl -o "$new.mpz" "$te"
refused output_with_prompt 64 E-USAGE 'stdout' peft-eval -m "$m" --prompt x -o "$new.mpz"
refused top_p_range 64 E-USAGE 'top-p' peft-eval -m "$m" --top-p 1.5 "$te"
refused stdin_empty 65 E-STREAM-CUT 'empty input' peft-eval -m "$m" -o "$new.mpz"
head -c -30 "$te" >"$t/cut.mpz"
refused stream_cut 65 E-STREAM-CUT 'without an END' peft-eval -m "$m" -o "$new.mpz" "$t/cut.mpz"
peft-eval -q -m "$m" --max-new-tokens 2 -o "$t/pred.mpz" "$te"
refused stream_kind 65 E-STREAM-KIND 'predictions' peft-eval -m "$m" -o "$new.mpz" "$t/pred.mpz"
refused exists 73 E-EXISTS '-f' peft-eval -m "$m" -a "$a" -o "$t/pred.mpz" "$te"
sed 's/Lily/Lilz/' "$m" >"$t/other.gguf"
peft-tok -q -m "$t/other.gguf" -o "$t/other.mpz" "$t/test.mpz"
refused other_tokenizer 65 E-MISMATCH 'another tokenizer' peft-eval -m "$m" -o "$new.mpz" "$t/other.mpz"
refused other_base 65 E-MISMATCH '--force-base' peft-eval -m "$t/other.gguf" -a "$a" -o "$new.mpz" "$t/other.mpz"
run peft-eval -q -m "$t/other.gguf" -a "$a" --force-base --metrics ppl --json "$t/other.mpz"
is force_base [ "$rc" = 0 ]
# an adapter that does nothing: B is zero before the first step
peft-train -q -m "$m" -o "$t/none" --precision f32 --lr 0 --max-steps 1 "$tr" >/dev/null 2>&1
refused noop_adapter 65 E-ADAPTER-NOOP 'untrained' peft-eval -m "$m" -a "$t/none/adapter" -o "$new.mpz" "$te"
refused noop_adapter_json 65 E-ADAPTER-NOOP 'untrained' peft-eval -m "$m" -a "$t/none/adapter" --json "$te"
mkdir "$t/broken" && cp "$a/adapter_config.json" "$t/broken/" && head -c 2000 "$a/adapter_model.safetensors" >"$t/broken/adapter_model.safetensors"
refused adapter_truncated 65 E-SAFETENSORS 'adapter_model.safetensors' peft-eval -m "$m" -a "$t/broken" -o "$new.mpz" "$te"
refused model_is_no_model 65 E-GGUF 'qa.csv' peft-eval -m "$t/qa.csv" "$te"

# ---- scores ----
ev --metrics em,f1,bleu,rouge,ppl --json "$tr" >"$t/s.json" 2>"$t/err"
is json_figures python3 - "$t/s.json" <<'P'
import json, sys, math
j = json.load(open(sys.argv[1]))
want = "rows generated_tokens label_tokens loss em em_lower em_squad f1 bleu rouge_l ppl bleu_signature".split()
assert not [k for k in want if k not in j], j
assert j["rows"] == 36 and 0 < j["em"] <= j["em_lower"] <= j["em_squad"] <= 100, j
assert math.isclose(j["ppl"], math.exp(j["loss"]), rel_tol=1e-9), j
assert j["bleu_signature"].startswith("BLEU|nrefs:1|case:mixed|"), j
P
is json_quiet [ -z "$(grep -v 'rows were trained on' "$t/err")" ]
peft-eval -q -m "$m" --precision f32 --max-new-tokens 16 --metrics em,ppl --json "$tr" >"$t/base.json"
is adapter_acts [ "$(json "j['loss'] < $(json 'j["loss"]' "$t/base.json") / 4" "$t/s.json")" = True ]
ev --metrics em,f1,bleu,rouge,ppl --json "$t/train.mpz" >"$t/x.json"
is examples_score_as_tokens cmp "$t/s.json" "$t/x.json"
ev --metrics em --json --limit 3 "$tr" >"$t/l.json"
is limit [ "$(json 'j["rows"]' "$t/l.json")" = 3 ]
run ev --metrics em,ppl --json --min em=1,ppl=100 "$tr"
is min_met [ "$rc" = 0 ]
run ev --metrics em,ppl --json --min em=100.5 "$tr"
is min_missed [ "$rc" = 1 ]
is min_missed_says_both grep -qE 'em is [0-9.]+, at least 100.5' "$t/err"
is min_missed_prints_the_scores [ "$(json 'j["rows"]' "$t/out")" = 36 ]
run ev --metrics ppl --json --min ppl=1.0000001 "$tr"
is min_of_ppl_is_an_upper_bound [ "$rc" = 1 ]
ev --metrics ppl --json --batch-size 1 --micro-tokens 64 "$tr" >"$t/few.json" # many batches instead of one
is batches_add_up python3 - "$t/s.json" "$t/few.json" <<'P'
import json, math, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
assert a["label_tokens"] == b["label_tokens"] and math.isclose(a["loss"], b["loss"], rel_tol=1e-5), (a, b)
P
# without a label there is no perplexity, and none that would do
rows "$tr" | python3 -c 'import json, sys
for line in sys.stdin: r = json.loads(line); r["mask"] = [0] * len(r["ids"]); print(json.dumps(r))' | peft-log pack -q --like "$tr" -o "$t/no.mpz"
run ev --metrics ppl --json --min ppl=100 "$t/no.mpz"
is no_label_meets_no_bound [ "$rc" = 1 -a "$(json '[j["label_tokens"], j["ppl"], j["loss"]]' "$t/out")" = '[0, None, None]' ]

# ---- predictions ----
for b in 1 3 16; do ev --batch-size $b "$tr" >"$t/p$b.mpz" && rows "$t/p$b.mpz" >"$t/p$b.json"; done
is batch_size_1_is_3 cmp "$t/p1.json" "$t/p3.json"
is batch_size_1_is_16 cmp "$t/p1.json" "$t/p16.json"
ev --threads 1 "$tr" >"$t/pt.mpz" && rows "$t/pt.mpz" >"$t/pt.json"
is threads_do_not_matter cmp "$t/p1.json" "$t/pt.json"
is predictions_score_as_json python3 - "$t/p1.json" "$t/s.json" <<'P'
import json, math, sys
rows = [json.loads(x) for x in open(sys.argv[1])]
j = json.load(open(sys.argv[2]))
assert [r["row"] for r in rows] == sorted(r["row"] for r in rows) and len(rows) == 36
assert math.isclose(sum(r["scores"]["em"] for r in rows) / 36, j["em"]), j
assert all((r["text"].strip() == r["target"].strip()) == (r["scores"]["em"] == 100) for r in rows)
assert {r["stopped"] for r in rows} <= {"eos", "length"} and any(r["stopped"] == "eos" for r in rows)
P
ev -o "$t/o.mpz" --json "$tr" >"$t/o.json"
rows "$t/o.mpz" >"$t/o.rows"
is output_beside_json cmp "$t/o.rows" "$t/p1.json"
run ev -o "$t/o.mpz" -f "$tr"
is force_replaces [ "$rc" = 0 -a ! -s "$t/out" ]
is predictions_verify peft-log verify "$t/o.mpz"
run peft-eval -m "$m" -n "$te"
is dry_run [ "$rc" = 0 ]
is dry_run_prints_the_plan grep -q 'total' "$t/out"
# ---- tokens that end a text: of the option, and all of the model's list ----
ids() { peft-log cat "$1" | python3 -c 'import json, sys
for line in sys.stdin: r = json.loads(line); print(r["row"], r["n_tokens"], r["stopped"], repr(r["text"]))'; }
ev --metrics em "$tr" >"$t/free.mpz"
refused stop_token_unknown 64 E-USAGE "'number' is no token" peft-eval -m "$m" --stop-token number -o "$new.mpz" "$te"
piece=$(peft-log cat "$t/free.mpz" | python3 -c 'import json, sys; print("▁number"[:2])')
ev --metrics em --stop-token "$piece" "$tr" >"$t/tok.mpz" && ids "$t/tok.mpz" >"$t/tok.txt"
number=$(python3 -c 'import struct, sys
b = open(sys.argv[1], "rb").read(); n, want = struct.unpack_from("<I", b)[0], sys.argv[2].replace("▁", " ").encode(); at = 4
for i in range(512):
    _, k = struct.unpack_from("<fI", b, at); at += 8
    if b[at:at + k] == want: print(i)
    at += k' "$PEFT_DATA/models/stories260K/tok512.bin" "$piece")
ev --metrics em --stop-token "$number" "$tr" >"$t/tok2.mpz" && ids "$t/tok2.mpz" >"$t/tok2.txt"
is stop_token_by_number cmp "$t/tok.txt" "$t/tok2.txt"
is stop_token_ends sh -c "[ \$(grep -c ' eos .*ball' '$t/tok.txt') -gt 18 ] && ! grep -q ' n' '$t/tok.txt'"
peft-merge -q -m "$m" -a "$a" -o "$t/hf" 2>/dev/null
hf() { peft-eval -q -m "$t/hf" --precision f32 --max-new-tokens 16 --metrics em "$tr" >"$1" && ids "$1"; }
hf "$t/hf.mpz" >"$t/hf.txt" && ids "$t/free.mpz" >"$t/free.txt"
is merged_texts cmp "$t/hf.txt" "$t/free.txt"
ends() { # ends FILE VALUE: eos_token_id of a file of the merged model
    python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); j["eos_token_id"] = json.loads(sys.argv[2]); json.dump(j, open(sys.argv[1], "w"))' "$t/hf/$1" "$2"
}
ends generation_config.json "[1, $number]" && hf "$t/list.mpz" >"$t/list.txt"
is end_list cmp "$t/list.txt" "$t/tok.txt"
ends generation_config.json "$number" && hf "$t/list.mpz" >"$t/list.txt"
is end_beside_the_tokenizers cmp "$t/list.txt" "$t/tok.txt"
ends generation_config.json null && ends config.json "[$number]" && hf "$t/list.mpz" >"$t/list.txt"
is end_list_of_config cmp "$t/list.txt" "$t/tok.txt"
for key in eot eom; do
    sed "s/^u32(\"tokenizer.ggml.unknown_token_id\".*/&; u32(\"tokenizer.ggml.${key}_token_id\", $number)/; s/eos_token_id\", 2/eos_token_id\", 1/" tests/parity/stories260k_gguf.py >"$t/$key.py"
    python3 "$t/$key.py" "$PEFT_DATA"/models/stories260K/{stories260K,tok512}.bin "$t/$key.gguf"
    peft-eval -q -m "$t/$key.gguf" -a "$a" --force-base --precision f32 --max-new-tokens 16 --metrics em "$tr" >"$t/$key.mpz" 2>"$t/err"
    ids "$t/$key.mpz" >"$t/$key.txt"
    is "end_of_gguf_$key" cmp "$t/$key.txt" "$t/tok.txt"
done
for v in '"2"' '[1, "2"]' 1.5 true -2 '{}'; do
    ends generation_config.json "$v"
    refused "end_type_$v" 65 E-TOKENIZER 'generation_config.json: eos_token_id is' peft-eval -m "$t/hf" -o "$new.mpz" "$te"
done
ends generation_config.json 1
for kv in add_bos_token='"true"' eos_token=2 bos_token='[1]'; do
    python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); k, v = sys.argv[2].split("=", 1); j[k] = json.loads(v); json.dump(j, open(sys.argv[3], "w"))' \
        "$t/hf/tokenizer_config.json" "$kv" "$t/tc.json" && mkdir -p "$t/typed" && cp "$t/hf/"* "$t/typed/" && cp "$t/tc.json" "$t/typed/tokenizer_config.json"
    refused "tokenizer_type_${kv%%=*}" 65 E-TOKENIZER "tokenizer_config.json: ${kv%%=*} is" peft-eval -m "$t/typed" -o "$new.mpz" "$te"
done
python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); del j["tie_word_embeddings"]; json.dump(j, open(sys.argv[1], "w"))' "$t/hf/config.json"
run peft-eval -q -m "$t/hf" --precision f32 --max-new-tokens 2 --metrics em "$te"
is head_not_said [ "$rc" = 0 ] && is head_not_said_warns grep -q 'tie_word_embeddings and lm_head.weight is missing' "$t/err"
ev --stop ' number' --metrics em "$tr" >"$t/st.mpz" && rows "$t/st.mpz" >"$t/st.json"
is stop_string python3 - "$t/st.json" <<'P'
import json, sys
rows = [json.loads(x) for x in open(sys.argv[1])]
assert all("number" not in r["text"] for r in rows) and sum(r["stopped"] == "stop" and r["text"] == " ball" for r in rows) > 18, rows[:3]
P

# A beginning that all prompts share is computed once: the texts are those of each prompt alone, also of a prompt that is no more than it.
long="Once upon a time, there was a little girl named Lily. She loved to play outside in the park with"
printf '%s\n' "$long her friends,x" "$long,x" "$long a big ball,x" "$long her friends and her,x" "$long her,x" >"$t/alike"
texts() { # stdin: CSV rows
    { echo question,answer && sed 's/\(.*\),x/"\1",x/'; } >"$t/alike.csv"
    peft-prep -q --prompt '{question}' -o "$t/alike.mpz" -f "$t/alike.csv" && ev --metrics em "$@" "$t/alike.mpz" >"$t/al.mpz" &&
        rows "$t/al.mpz" | sed -n 's/.*"text":\("[^"]*"\).*/\1/p'
}
while read -r line; do echo "$line" | texts; done <"$t/alike" >"$t/alone"
for b in 1 2 16; do texts --batch-size $b <"$t/alike" >"$t/shared$b"; done
is shared_beginning_has_texts [ "$(grep -c '..' "$t/alone")" = 5 ]
is shared_beginning_1 cmp "$t/alone" "$t/shared1"
is shared_beginning_2 cmp "$t/alone" "$t/shared2"
is shared_beginning_16 cmp "$t/alone" "$t/shared16"

# ---- sampling ----
sample() { ev --metrics em --temperature 1.5 "$@" "$te" >"$t/sm.mpz" && rows "$t/sm.mpz"; }
sample --seed 5 >"$t/a" && sample --seed 5 --batch-size 1 >"$t/b" && sample --seed 6 >"$t/c"
is sampling_repeats cmp "$t/a" "$t/b"
is sampling_follows_the_seed sh -c "! cmp -s '$t/a' '$t/c'"
sample --seed 5 --top-k 1 >"$t/k1" && ev --metrics em "$te" >"$t/g.mpz" && rows "$t/g.mpz" >"$t/g"
is top_k_1_is_greedy cmp "$t/k1" "$t/g"
sample --seed 5 --top-p 1e-6 >"$t/p0"
is top_p_0_is_greedy cmp "$t/p0" "$t/g"

# ---- a prompt ----
run ev --prompt $'Q: what does Lily see on day 3\nA:'
is prompt_exit [ "$rc" = 0 -a ! -s "$t/err" ]
is prompt_text grep -qE '^ ball number [0-9]+$' "$t/out"
ev --prompt $'Q: what does Lily see on day 3\nA:' --stop number >"$t/p"
is prompt_stop [ "$(cat "$t/p")" = ' ball ' ]
run peft-eval -q -m "$m" --prompt 'Once upon a time' --max-new-tokens 20
is prompt_of_the_base grep -qE '^, there was' "$t/out"

# ---- logits ----
ev --metrics none --logits "$t/l.safetensors" "$te" && ev --metrics none --logits "$t/l1.safetensors" --batch-size 1 "$te"
is logits_shape python3 - "$t/l.safetensors" "$t/l1.safetensors" "$te" <<'P'
import json, struct, sys
def read(f):
    b = open(f, "rb").read(); n, = struct.unpack_from("<Q", b); h = json.loads(b[8:8 + n])["logits"]
    assert h["dtype"] == "F32" and h["shape"] == [4, 512], h
    return struct.unpack_from("<%df" % (4 * 512), b, 8 + n + h["data_offsets"][0])
x, y = read(sys.argv[1]), read(sys.argv[2])
assert all(abs(a - b) <= 1e-4 for a, b in zip(x, y)) and max(x) > 1
P
refused logits_exist 73 E-EXISTS '-f' peft-eval -m "$m" -a "$a" --metrics none --logits "$t/l.safetensors" "$te"

# ---- several streams are one ----
cp "$tr" "$t/second.mpz"
run peft-train -q -m "$m" -o "$t/run2" --precision f32 --max-steps 2 "$te" "$t/second.mpz"
is train_on_two_streams [ "$rc" = 0 ]
is both_are_in_the_manifest [ "$(grep -o '"tool": *"peft-prep"' "$t/run2/manifest.json" | wc -l)" -ge 2 ]
run ev -o "$t/two.mpz" "$te" "$t/second.mpz"
is answers_of_two_streams [ "$(rows "$t/two.mpz" | wc -l)" = "$(cat <(rows "$te") <(rows "$tr") | wc -l)" ]
is rows_of_two_streams_differ [ -z "$(rows "$t/two.mpz" | sed 's/,.*//' | sort | uniq -d)" ]

# ---- rows that were trained on ----
run ev --metrics ppl --json "$tr"
is trained_rows_are_in_the_json [ "$(json "j[\"trained_rows\"]" "$t/out")" = "$(rows "$tr" | wc -l)" ]
is trained_rows_are_counted grep -q "warning: $(rows "$tr" | wc -l) of $(rows "$tr" | wc -l) rows were trained on" "$t/err"
run ev --metrics ppl --json "$te"
is no_trained_rows_in_the_json [ "$(json "j[\"trained_rows\"]" "$t/out")" = 0 ]
is rows_held_out_are_not sh -c "! grep -q 'trained on' '$t/err'"
run ev --metrics ppl --json "$te" "$t/second.mpz"
is trained_rows_among_others grep -q "warning: $(rows "$tr" | wc -l) of $(cat <(rows "$te") <(rows "$tr") | wc -l) rows were trained on" "$t/err"
run peft-eval -q -m "$m" --metrics ppl --json "$tr"
is without_adapter_no_count [ "$(json "j.get(\"trained_rows\", -1)" "$t/out")" = -1 ]
is without_adapter_no_rows_are_known sh -c "! grep -q 'trained on' '$t/err'"
run peft-train -q -m "$m" -o "$t/run3" --precision f32 --max-steps 2 --init-adapter "$a" -e "$tr" "$te"
is training_warns_too grep -q "warning: .*second.mpz: .* rows are trained on\|warning: .*tr.mpz: .* rows are trained on" "$t/err"
run peft-eval -q -m "$m" -a "$t/run3/adapter" --metrics ppl --json "$te" "$t/second.mpz"
is rows_of_the_first_adapter_are_kept grep -q "warning: 40 of 40 rows were trained on" "$t/err"
