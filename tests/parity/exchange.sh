#!/bin/bash
# tier: long
# Adapters that peft-train writes are what the Python packages read: peft (all methods that it has) and adapters (bottlenecks, from
# both of its formats) load them and give peft-eval's logits. PEFT_VENV names the virtual environment; without it the test is skipped.
set -u
cd "$(dirname "$0")/../.." || exit 70
python=${PEFT_VENV:-/nonexistent}/bin/python
if ! "$python" -c 'import torch, transformers, peft, adapters' 2>/dev/null; then
    echo "skip exchange: PEFT_VENV names no environment with torch, transformers, peft, adapters"
    exit 0
fi
t='' # set there
. tests/cli/tiny.sh
tiny exchange
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
# a Hugging Face directory of the tiny model, by merging a barely trained adapter
run peft-train -q -m "$t/s.gguf" -o "$t/l" --lr 1e-2 --max-steps 2 "$t/tr.mpz"
is base peft-merge -q -m "$t/s.gguf" -a "$t/l/adapter" --dtype f32 -o "$t/hf"
peft-tok -q -m "$t/hf" -o "$t/te2.mpz" "$t/test.mpz" && peft-tok -q -m "$t/hf" -o "$t/tr2.mpz" "$t/train.mpz"
peft-log cat "$t/te2.mpz" >"$t/te.jsonl"
names=()
while read -r name options; do
    names+=("$name")
    # shellcheck disable=SC2086
    run peft-train -q -m "$t/hf" -o "$t/$name" $options --lr 3e-2 --max-steps 10 "$t/tr2.mpz"
    is "$name.logits" peft-eval -q -m "$t/hf" -a "$t/$name/adapter" --metrics ppl --json --logits "$t/$name.st" "$t/te2.mpz"
done <<'X'
lora --method lora --rslora
ia3 --method ia3
ia3_all --method ia3 --target-modules all-linear --ia3-feedforward gate_proj,down_proj
prompt --method prompt --prompt-tokens 7
prompt_vocabulary --method prompt --prompt-tokens 7 --prompt-init SAMPLE_VOCAB
prefix --method prefix --prefix-tokens 7
prefix_projection --method prefix --prefix-tokens 7 --prefix-projection --prefix-hidden 20
ptuning --method ptuning --ptuning-tokens 7
ptuning_lstm --method ptuning --ptuning-tokens 7 --ptuning-encoder LSTM --ptuning-hidden 12
ln_tuning --method ln_tuning
ln_tuning_more --method ln_tuning --target-modules post_attention_layernorm,q_proj,down_proj
full --method full
loha --method loha --target-modules all-linear --loha-r 3
lokr --method lokr --target-modules all-linear
lokr_both --method lokr --lokr-both --lokr-r 2 --lokr-factor 8 --layers-to-transform 1-3
vera --method vera --target-modules all-linear --vera-r 16
bn_seq --method bottleneck
bn_double --method bottleneck --bottleneck-config double_seq_bn --bottleneck-activation tanh --bottleneck-leave-out 1
bn_par --method bottleneck --bottleneck-config par_bn --bottleneck-reduction 0=4,default=8
bn_learned --method bottleneck --bottleneck-scaling learned
bn_channel --method bottleneck --bottleneck-scaling channel --bottleneck-config double_seq_bn
X
"$python" - "$t" "${names[@]}" <<'P' || echo "FAIL exchange: a reader refused"
import json, sys, torch, adapters
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
t, names = sys.argv[1], sys.argv[2:]
rows = [r for r in (json.loads(line) for line in open(t + "/te.jsonl")) if "tokens" in r or "ids" in r]
prompts = [r["ids"][:r["n_prompt"]] for r in (r.get("tokens", r) for r in rows)]
def check(name, m):
    want = load_file(f"{t}/{name.split('.')[0]}.st")["logits"]
    with torch.no_grad():
        got = torch.stack([m(input_ids=torch.tensor([p])).logits[0, -1] for p in prompts])
    d = ((got - want).abs().max() / want.abs().max()).item()
    print(f"ok exchange.{name}" if d < 1e-5 else f"FAIL exchange.{name}: logits differ by {d:.2g}")
for name in names:
    m = AutoModelForCausalLM.from_pretrained(t + "/hf", dtype=torch.float32).eval()
    if name == "full":
        lost = m.load_state_dict(load_file(f"{t}/full/adapter/adapter_model.safetensors"), strict=False)
        assert set(lost.missing_keys) <= {"lm_head.weight"} and not lost.unexpected_keys, lost
        check(name, m)
        continue
    if not name.startswith("bn_"):
        check(name, PeftModel.from_pretrained(m, f"{t}/{name}/adapter").eval())
        continue
    adapters.init(m)
    for safe in (False, True):
        m.set_active_adapters(m.load_adapter(f"{t}/{name}/adapter", use_safetensors=safe, load_as=f"a{safe}"))
        check(name + (".safetensors" if safe else ".bin"), m.eval())
P
