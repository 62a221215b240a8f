#!/bin/bash
# tier: fast
# Adapters combined and exchanged, as their user meets it, on a tiny model: what comes out computes what went in, and what cannot be
# done is refused without a trace.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny exchange
m=$t/s.gguf te=$t/te.mpz tr=$t/tr.mpz new=$t/new
train() { # train NAME OPTION...
    local name=$1
    shift
    peft-train -q -m "$m" -o "$t/$name" --precision f32 --lr 3e-2 --max-steps 3 "$@" "$tr" >/dev/null 2>"$t/err" || { echo "FAIL exchange: cannot train"; exit 0; }
}
train A --seed 1 --lora-r 4
train B --seed 2 --lora-r 4 --rslora
train C --seed 3 --lora-r 6 --target-modules q_proj,down_proj
train I --method ia3
# logits NAME OPTION...: of the model and adapter of the options, into $t/NAME.st
logits() {
    local name=$1
    shift
    peft-eval -q --precision f32 --metrics ppl --json --logits "$t/$name.st" "$@" "$te" >/dev/null
}
# same_logits TOL A B: files of peft-eval --logits, differences against the largest value
same_logits() {
    python3 - "$@" <<'P'
import json, struct, sys
def read(f):
    b = open(f, "rb").read(); n, = struct.unpack_from("<Q", b); h = json.loads(b[8:8 + n])["logits"]
    x, y = h["data_offsets"]; return struct.unpack(f"<{(y - x) // 4}f", b[8 + n + x:8 + n + y])
a, b = map(read, sys.argv[2:])
d = max(abs(x - y) for x, y in zip(a, b)) / max(map(abs, a))
assert len(a) == len(b) and d < float(sys.argv[1]), d
P
}

# ---- combined ----
# The sum of two updates is what two merges in a row make of the base.
peft-merge -q -m "$m" -a "$t/A" --scale 0.7 --dtype f32 -o "$t/m1.gguf" && peft-merge -q -f -m "$t/m1.gguf" -a "$t/C" --scale -0.3 --dtype f32 -o "$t/m2.gguf"
logits want -m "$t/m2.gguf"
for how in cat svd; do
    more=''
    [ $how = cat ] || more='--rank 10'
    # shellcheck disable=SC2086
    is "$how" peft-merge -q --combine $how $more -o "$t/$how" "$t/A:0.7" "$t/C/adapter:-0.3"
    is "$how.logits" logits "$how" -m "$m" -a "$t/$how"
    is "$how.is_the_sum" same_logits 1e-5 "$t/want.st" "$t/$how.st"
done
is scaled peft-merge -q --combine cat -o "$t/half" "$t/B:0.5"
peft-merge -q -m "$m" -a "$t/B" --scale 0.5 --dtype f32 -o "$t/h.gguf"
logits h -m "$t/h.gguf" && logits half -m "$m" -a "$t/half"
is scaled.is_half same_logits 1e-5 "$t/h.st" "$t/half.st"
for how in linear ties ties_svd dare_linear dare_linear_svd dare_ties dare_ties_svd magnitude_prune magnitude_prune_svd; do
    density='--density 0.5'
    [ $how != linear ] || density=''
    # shellcheck disable=SC2086
    is "$how" peft-merge -q -m "$m" --combine $how $density --seed 5 -o "$t/$how" "$t/A:0.7" "$t/B:0.3"
done
is dare_is_a_function_of_the_seed peft-merge -q --combine dare_ties --density 0.5 --seed 5 -o "$t/again" "$t/A:0.7" "$t/B:0.3"
is dare_same_tensors cmp "$t/dare_ties/adapter_model.safetensors" "$t/again/adapter_model.safetensors"
is dare_other_seed peft-merge -q --combine dare_ties --density 0.5 --seed 6 -o "$t/other" "$t/A:0.7" "$t/B:0.3"
is dare_other_tensors sh -c "! cmp -s '$t/other/adapter_model.safetensors' '$t/again/adapter_model.safetensors'"
is rows_of_both_are_known sh -c "cmp '$t/ties/trained_rows.bin' '$t/A/adapter/trained_rows.bin'"
is sealed peft-merge -q --check "$t/ties"
run peft-merge -n --combine cat -o "$new" "$t/A" "$t/B"
is dry_run [ "$rc" = 0 -a ! -e "$new" ]

# ---- formats of others ----
for a in B C; do
    logits "$a" -m "$m" -a "$t/$a"
    is "$a.gguf" peft-merge -q --adapter-only -m "$m" -a "$t/$a" -o "$t/$a.gguf"
    is "$a.mlx" peft-merge -q --adapter-only --format mlx -m "$m" -a "$t/$a" -o "$t/$a.mlx"
    for f in gguf mlx; do
        logits "$a.$f" -m "$m" -a "$t/$a.$f"
        is "$a.$f.logits" same_logits 1e-6 "$t/$a.st" "$t/$a.$f.st"
        is "$a.$f.back" peft-merge -q --adapter-only --format peft -m "$m" -a "$t/$a.$f" -o "$t/$a.$f.back"
        is "$a.$f.same_tensors" same_tensors "$t/$a.$f.back" "$t/$a/adapter"
    done
    is "$a.gguf.again" peft-merge -q --adapter-only -m "$m" -a "$t/$a.gguf.back" -o "$t/$a.again.gguf"
    is "$a.gguf.same_bytes" cmp "$t/$a.gguf" "$t/$a.again.gguf"
done
is targets_by_name grep -q "\"q_proj\"" "$t/B.gguf.back/adapter_config.json"
# several factors: what the format has one number for goes into B
cp -r "$t/C/adapter" "$t/P" && sed -i 's/"alpha_pattern": {}/"alpha_pattern": {"layers.1.self_attn.q_proj": 40}/' "$t/P/adapter_config.json"
logits P -m "$m" -a "$t/P"
is patterns.differ sh -c "! cmp -s '$t/P.st' '$t/C.st'"
is patterns.gguf peft-merge -q --adapter-only -m "$m" -a "$t/P" -o "$t/P.gguf"
is patterns.mlx peft-merge -q --adapter-only --format mlx -m "$m" -a "$t/P" -o "$t/P.mlx"
for f in gguf mlx; do
    logits "P.$f" -m "$m" -a "$t/P.$f"
    is "patterns.$f.logits" same_logits 1e-6 "$t/P.st" "$t/P.$f.st"
done
is merged_from_gguf peft-merge -q -m "$m" -a "$t/B.gguf" --dtype f32 -o "$t/Ag.gguf"
peft-merge -q -m "$m" -a "$t/B" --dtype f32 -o "$t/Am.gguf"
is merged_from_gguf_is_merged cmp "$t/Ag.gguf" "$t/Am.gguf"
is combined_of_both peft-merge -q -m "$m" --combine cat -o "$t/AB.gguf" "$t/C.gguf" "$t/B.mlx:0.5"
is scaled_export peft-merge -q --adapter-only --scale 0.5 -m "$m" -a "$t/B" -o "$t/half.gguf"
logits half2 -m "$m" -a "$t/half.gguf"
is scaled_export.is_half same_logits 1e-5 "$t/h.st" "$t/half2.st"

# ---- a GGUF file of a Hugging Face base ----
peft-merge -q -f -m "$m" -a "$t/B" --scale 0 --dtype f32 -o "$t/hf"
is hf.gguf peft-merge -q -f -m "$t/hf" -a "$t/B" -o "$t/x.gguf" --verify "$te"
logits x -m "$t/x.gguf"
is hf.gguf.logits same_logits 1e-6 "$t/B.st" "$t/x.st"
{ cat "$PEFT_DATA/text/tinystories_sample.txt"; printf '  <s> 12345 \303\251 \360\237\230\200 x\n'; } >"$t/text"
for f in hf x.gguf; do peft-tok -q --encode -m "$t/$f" "$t/text" >"$t/ids.$f"; done
is hf.gguf.same_tokens sh -c "[ -s '$t/ids.hf' ] && cmp '$t/ids.hf' '$t/ids.x.gguf'"
is hf.gguf.template sh -c "sed -i '1s/{/{\"chat_template\": \"{{ bos_token }}said\",/' '$t/hf/tokenizer_config.json' && peft-merge -q -f -m '$t/hf' -a '$t/B' -o '$t/y.gguf' --dtype q8_0 && grep -q said '$t/y.gguf'"
python3 - "$t/hf/config.json" <<'P'
import json, sys
c = json.load(open(sys.argv[1])); c["rope_scaling"] = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
json.dump(c, open(sys.argv[1], "w"))
P
is hf.gguf.llama3 peft-merge -q -f -m "$t/hf" -a "$t/B" -o "$t/z.gguf" --verify "$te"
rm "$t/hf/tokenizer.json"
refused hf_without_tokenizer 66 E-NOINPUT 'no tokenizer' peft-merge -f -m "$t/hf" -a "$t/B" -o "$t/new.gguf"

# ---- the difference of two models ----
is extracted peft-merge -q -m "$m" --extract "$t/Am.gguf" --rank 8 -o "$t/E"
logits E -m "$m" -a "$t/E"
is extracted.computes_the_same same_logits 1e-4 "$t/B.st" "$t/E.st"
is extracted.targets sh -c "grep -A3 target_modules '$t/E/adapter_config.json' | tr -d ' \n' | grep -q '\[\"q_proj\",\"v_proj\"\]'"
run peft-merge -m "$m" --extract "$t/Am.gguf" --rank 1 -o "$t/E1"
is extracted.says_what_is_left_out grep -q 'rank 1 leaves out 0' "$t/err"

# ---- who takes it ----
says() { # says NAME CONSUMER EXIT PATTERN DIR: what peft-merge --for prints
    run peft-merge --for "$2" -a "$5"
    is "for.$1" sh -c "[ $rc = $3 ] && grep -qE -- '$4' '$t/out' '$t/err'"
}
says vllm vllm 0 'nothing in it' "$t/A"
says vllm_patterns vllm 1 'alpha_pattern: ' "$t/P"
says gguf_patterns llama.cpp 0 'nothing' "$t/P"
says gguf_ia3 llama.cpp 1 'peft_type: IA3' "$t/I"
says peft_ia3 peft 0 'nothing' "$t/I"
says adapterhub adapterhub 1 'directory of PEFT' "$t/A"
cp -r "$t/P" "$t/D" && sed -i 's/"use_dora": false/"use_dora": true/; s/"modules_to_save": null/"modules_to_save": ["lm_head"]/' "$t/D/adapter_config.json"
says mlx_two mlx 1 'for 2 reasons' "$t/D"
run peft-train -m "$m" -o "$new" --method ia3 --for vllm "$tr"
is for.before_training sh -c "[ $rc = 1 ] && grep -q 'E-NEGATIVE' '$t/err' && ! [ -e '$new' ]"
is for.trains peft-train -q -m "$m" -o "$t/T" --max-steps 1 --for vllm "$tr"
refused for_with_output 64 E-USAGE 'goes with no output' peft-merge --for vllm -a "$t/A" -o "$new"

# ---- refused ----
refused extract_no_rank 64 E-USAGE 'no rank' peft-merge -m "$m" --extract "$t/Am.gguf" -o "$new"
refused extract_the_same 65 E-ADAPTER-NOOP 'no projection' peft-merge -m "$m" --extract "$m" --rank 4 -o "$new"
refused gguf_without_model 64 E-USAGE 'gguf-lora' peft-merge --combine cat -o "$t/new.gguf" "$t/A" "$t/B"
refused gguf_read_without_model 64 E-USAGE 'base model explains' peft-merge --combine cat -o "$new" "$t/B.gguf"
refused gguf_names_no_base 64 E-USAGE 'names none' peft-merge -a "$t/B.gguf" -o "$new"
refused gguf_is_a_model 65 E-ADAPTER 'general.type' peft-merge -m "$m" -a "$m" -o "$new"
refused format_of_adapters 64 E-USAGE 'adapter-only' peft-merge -m "$m" -a "$t/A" -o "$new" --format mlx
refused ia3_to_gguf 76 E-VERSION 'IA3' peft-merge --adapter-only -m "$m" -a "$t/I" -o "$t/new.gguf"
refused no_operands 64 E-USAGE 'no adapters' peft-merge --combine linear -o "$new"
refused operands_without 64 E-USAGE 'without --combine' peft-merge -m "$m" -a "$t/A" -o "$new" "$t/B"
refused weight 64 E-USAGE 'weight' peft-merge --combine linear -o "$new" "$t/A:much"
refused weight_0 64 E-USAGE 'weight' peft-merge --combine linear -o "$new" "$t/A:0"
refused no_density 64 E-USAGE 'no density' peft-merge --combine ties -o "$new" "$t/A" "$t/B"
refused density 64 E-USAGE 'density' peft-merge --combine linear --density 0.5 -o "$new" "$t/A" "$t/B"
refused majority 64 E-USAGE 'majority-sign' peft-merge --combine dare_linear --density 0.5 --majority-sign total -o "$new" "$t/A" "$t/B"
refused rank 64 E-USAGE 'rank goes with' peft-merge --combine cat --rank 3 -o "$new" "$t/A" "$t/B"
refused combine_and_a 64 E-USAGE 'operands' peft-merge --combine cat -a "$t/A" -o "$new" "$t/B"
refused ranks_differ 65 E-MISMATCH 'rank 4 in .*, 6 in' peft-merge --combine linear -o "$new" "$t/A" "$t/C"
refused absent 66 E-NOINPUT 'nowhere' peft-merge --combine cat -o "$new" "$t/A" "$t/nowhere:0.5"
refused no_lora 76 E-VERSION 'IA3' peft-merge --combine cat -o "$new" "$t/A" "$t/I"
refused onto_itself 77 E-POLICY 'is an input' peft-merge -f --combine cat -o "$t/cat" "$t/cat:0.5" "$t/A"
sed 's/Lily/Lilz/' "$m" >"$t/other.gguf"
refused wrong_base 65 E-MISMATCH 'SHA-256' peft-merge -m "$t/other.gguf" --combine cat -o "$new" "$t/A" "$t/B"
# edit NAME EXPRESSION: a copy of A's directory with its tensors' header h and bytes b changed
edit() {
    cp -r "$t/A/adapter" "$t/$1"
    python3 - "$t/$1/adapter_model.safetensors" "$2" <<'P'
import json, struct, sys
f, what = sys.argv[1:]
b = open(f, "rb").read(); n, = struct.unpack_from("<Q", b); h = json.loads(b[8:8 + n]); b = bytearray(b[8 + n:])
exec(what)
j = json.dumps(h).encode(); j += b" " * (-len(j) % 8)
open(f, "wb").write(struct.pack("<Q", len(j)) + j + b)
P
}
edit nan 'b[:4] = b"\0\0\xc0\x7f"'
refused nan 65 E-ADAPTER 'not finite' peft-merge --combine cat -o "$new" "$t/A" "$t/nan"
edit renamed 'k = [k for k in h if "lora_B" in k][0]; h[k.replace("lora_B", "lora_Z")] = h.pop(k)'
refused renamed 65 E-ADAPTER 'lora_B.*is missing' peft-merge --combine cat -o "$new" "$t/A" "$t/renamed"
edit halved 'k = [k for k in h if "lora_B" in k][0]; h[k.replace(".layers.0.", ".layers.9.")] = h.pop(k)'
refused halved 65 E-ADAPTER "lora_B.weight' is missing" peft-merge --combine cat -o "$new" "$t/A" "$t/halved"
cp -r "$t/A/adapter" "$t/dora" && sed -i 's/"use_dora": false/"use_dora": true/' "$t/dora/adapter_config.json"
refused dora 76 E-VERSION 'use_dora' peft-merge --combine cat -o "$new" "$t/A" "$t/dora"
cp -r "$t/A/adapter" "$t/rank" && sed -i 's/"r": 4/"r": 5/' "$t/rank/adapter_config.json"
refused rank_differs 65 E-ADAPTER 'rank 4, adapter_config.json says 5' peft-merge --combine cat -o "$new" "$t/A" "$t/rank"
for scaling in yarn longrope; do
    refused "$scaling.gguf" 76 E-VERSION "type $scaling is not written into GGUF" peft-merge -m tests/parity/model/$scaling/base -a tests/parity/model/$scaling/adapter -o "$new.gguf"
done
