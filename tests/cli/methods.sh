#!/bin/bash
# tier: fast
# Every method of peft-train --help on the tiny model, with its own defaults: plan, training, the same bytes for other threads,
# batches and interruptions, evaluation and generation with the adapter, merging where it merges and one clear refusal where not.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny methods
tr=$t/tr.mpz te=$t/te.mpz m=$t/s.gguf
methods=$(peft-train --method none -m "$m" -o "$t/none" "$tr" 2>&1 | sed -n 's/.*methods: //p' | tr -d ',')
is names [ "$(wc -w <<<"$methods")" -ge 4 ]
# train NAME OPTION...: into $t/NAME; what it printed as a stream is not wanted
train() {
    local out=$1
    shift
    peft-train -q -m "$m" -o "$t/$out" "$@" "$tr" >/dev/null
}
for method in $methods; do
    tiny_prefix "methods.$method"
    if [ "$method" = bitfit ]; then # this model has no biases
        refused no_biases 78 E-TARGET 'trains biases' peft-train -m "$m" --method bitfit -o "$t/new" "$tr"
        continue
    fi
    options=(--method "$method" --lr 0.01 --max-steps 6 --save-steps 3 --logging-steps 3 --micro-tokens 128 -e "$te" --eval-metrics "em,ppl"
        --eval-max-new-tokens 4)
    # dropout too, if the method has some: its masks are the tokens', whatever is computed together
    peft-train --help >"$t/help"
    grep -qe "--$method-dropout " "$t/help" && options+=("--$method-dropout" 0.2)
    run peft-train -q --plan -m "$m" "${options[@]}" "$tr"
    is plan [ "$rc" = 0 ] && is plan_counts grep -qE '^adapter +[1-9][0-9]* trainable' "$t/out"
    is train train "$method" "${options[@]}"
    is loss_falls python3 -c 'import sys; v = [float(x) for x in sys.argv[1].split()]; assert v[-1] < v[0], v' "$(losses "$t/$method/metrics.mpz" | tr '\n' ' ')"
    train again "${options[@]}" --threads 1 --batch-size 4 --accumulate 2 --gradient-checkpointing
    is any_threads_and_batch same_tensors "$t/$method/adapter" "$t/again/adapter"
    # a run that was stopped after the third step goes on to the same bytes
    mkdir -p "$t/half/checkpoints" && cp -r "$t/$method/checkpoints/step-000003" "$t/half/checkpoints/"
    is resume train half "${options[@]}" --resume
    is same_after_resume same_tensors "$t/$method/adapter" "$t/half/adapter"
    rm -rf "$t/half" "$t/again"
    run peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em,ppl --max-new-tokens 4 --batch-size 3 --json "$te"
    is evaluate [ "$rc" = 0 ]
    json 'j["eval_ppl"] if "eval_ppl" in j else j["ppl"]' "$t/out" >"$t/ppl3" 2>/dev/null
    run peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em,ppl --max-new-tokens 4 --batch-size 1 --json "$te"
    is same_text_for_any_batch cmp <(peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em --max-new-tokens 6 --batch-size 1 "$te" | peft-log cat) \
        <(peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em --max-new-tokens 6 --batch-size 5 "$te" | peft-log cat)
    # a row alone has no prompt to share a beginning with; so many rows have, and each slot serves several
    is same_text_alone cmp <(peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em --max-new-tokens 6 --limit 1 "$tr" 2>"$t/err" | peft-log cat | grep '"row"') \
        <(peft-eval -q -m "$m" -a "$t/$method/adapter" --metrics em --max-new-tokens 6 --batch-size 5 "$tr" 2>"$t/err" | peft-log cat | grep '"row"' | head -n 1)
    run peft-merge -q -m "$m" -a "$t/$method/adapter" --dtype f32 --verify "$te" -o "$t/new"
    if [ "$rc" = 0 ]; then
        is merged_is_applied [ -f "$t/new/config.json" ]
        rm -rf "$t/new"
    else
        refused not_merged 76 E-VERSION 'cannot be merged' peft-merge -m "$m" -a "$t/$method/adapter" -o "$t/new"
    fi
    run peft-merge -q -m "$m" -a "$t/$method/adapter" --adapter-only -o "$t/copy"
    is copy same_tensors "$t/$method/adapter" "$t/copy"
    rm -rf "$t/copy"
done
# what is trained stands in checkpoints; an adapter directory has what others read of it, and means the same
tiny_prefix methods.projection
options=(--method prefix --prefix-projection --prefix-hidden 8 --prefix-tokens 6 --lr 0.01 --max-steps 6 --save-steps 3)
is train train trained "${options[@]}"
mkdir -p "$t/half/checkpoints" && cp -r "$t/trained/checkpoints/step-000003" "$t/half/checkpoints/"
is resume train half "${options[@]}" --resume
is same_after_resume same_tensors "$t/trained/adapter" "$t/half/adapter"
ppl() { peft-eval -q -m "$m" -a "$1" --metrics ppl --json "$te" | jq .ppl; }
is same_meaning [ "$(ppl "$t/trained/adapter")" = "$(ppl "$t/trained/checkpoints/step-000006")" ]
is exported peft-merge -q -m "$m" -a "$t/trained/checkpoints/step-000006" --adapter-only -o "$t/copy"
is same_export same_tensors "$t/trained/adapter" "$t/copy"
refused idle_hidden 78 E-CONFIG 'no effect without prefix_projection' peft-train -m "$m" --method prefix --prefix-hidden 8 -o "$t/new" "$tr"
tiny_prefix methods
refused foreign_option 64 E-USAGE 'no effect with --method ia3' peft-train -m "$m" --method ia3 --lora-r 4 -o "$t/new" "$tr"
refused no_targets 64 E-USAGE 'no effect with --method prompt' peft-train -m "$m" --method prompt --target-modules q_proj -o "$t/new" "$tr"
refused two_prompts 65 E-ADAPTER 'virtual tokens of another adapter' peft-eval -q -m "$m" -a "stack($t/prompt/adapter,$t/prefix/adapter)" "$te"
printf 'peft:\n  method: ia3\n  lora:\n    r: 4\n' >"$t/two.yaml"
is config_of_two peft-train -q -c "$t/two.yaml" --plan -m "$m" "$tr"
# LoRA+: in the first step A has no gradient, and B takes a step at the ratio's times the rate; a ratio of 1 changes no bit
tiny_prefix methods.loraplus
part() { # DIR PATTERN [2]: digest of the tensors whose names match, or of their second halves
    python3 -c 'import hashlib, json, re, struct, sys
b = open(sys.argv[1] + "/adapter/adapter_model.safetensors", "rb").read(); n = struct.unpack("<Q", b[:8])[0]; h = hashlib.sha256()
for k, t in sorted(json.loads(b[8:8 + n]).items()):
    if not re.search(sys.argv[2], k): continue
    at, end = t["data_offsets"]
    if len(sys.argv) > 3: at = (at + end) // 2
    h.update(b[8 + n + at:8 + n + end])
print(h.hexdigest())' "$t/$1" "${@:2}"
}
one=(--dora --max-steps 1 --scheduler constant --target-modules "q_proj,down_proj")
is base train plus0 "${one[@]}" --lr 0.0078125
is ratio_1 train plus1 "${one[@]}" --lr 0.0078125 --loraplus-lr-ratio 1
is ratio_4 train plus4 "${one[@]}" --lr 0.0078125 --loraplus-lr-ratio 4
is rate_4 train rate4 "${one[@]}" --lr 0.03125
is ratio_1_is_none same_tensors "$t/plus0/adapter" "$t/plus1/adapter"
is b_and_magnitudes_faster [ "$(part plus4 'lora_B|magnitude')" = "$(part rate4 'lora_B|magnitude')" ]
is faster_than_without [ "$(part plus4 'lora_B|magnitude')" != "$(part plus0 'lora_B|magnitude')" ]
is a_as_before [ "$(part plus4 lora_A)" = "$(part plus0 lora_A)" ]
refused loraplus 64 E-USAGE 'no effect with --method ia3' peft-train -m "$m" --method ia3 --loraplus-lr-ratio 4 -o "$t/new" "$tr"
# A start with values out of the base: the half that takes them away stays, whatever decays; the run goes on with the other half
tiny_prefix methods.pissa
one=(--init pissa --lora-r 4 --lr 0.01 --weight-decay 0.5 --target-modules "q_proj,down_proj" --save-steps 2 --logging-steps 2)
is train train pissa "${one[@]}" --max-steps 4
is loss_falls python3 -c 'import sys; v = [float(x) for x in sys.argv[1].split()]; assert v[-1] < v[0], v' "$(losses "$t/pissa/metrics.mpz" | tr '\n' ' ')"
is short train short "${one[@]}" --max-steps 1
is frozen_half_stays [ "$(part pissa lora_A 2)" = "$(part short lora_A 2)" ]
is other_half_does_not [ "$(part pissa lora_A)" != "$(part short lora_A)" ]
mkdir -p "$t/pissa2/checkpoints" && cp -r "$t/pissa/checkpoints/step-000002" "$t/pissa2/checkpoints/"
is resume train pissa2 "${one[@]}" --max-steps 4 --resume
is same_after_resume same_tensors "$t/pissa/adapter" "$t/pissa2/adapter"
is merged_is_applied peft-merge -q -m "$m" -a "$t/pissa/adapter" --dtype f32 --verify "$te" -o "$t/new"
