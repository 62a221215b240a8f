#!/bin/bash
# tier: long
# What peft-merge writes is what the reference readers read: transformers, peft, safetensors and torch (weights_only, mmap) load
# the outputs of a tiny model with the same values. PEFT_VENV names the virtual environment; without it the test is skipped.
set -u
cd "$(dirname "$0")/../.." || exit 70
python=${PEFT_VENV:-/nonexistent}/bin/python
if ! "$python" -c 'import torch, transformers, peft, safetensors' 2>/dev/null; then
    echo "skip formats: PEFT_VENV names no environment with torch, transformers, peft, safetensors"
    exit 0
fi
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
for case in gqa_tied mha_untied_all odd_llama3; do
    dir=tests/parity/model/$case
    for out in hf.dir hf.pt; do
        "$PEFT_BIN/peft-merge" -q -m $dir/base -a $dir/adapter -o "$t/$case.$out" || echo "FAIL formats.$case: peft-merge -o $out"
    done
    "$PEFT_BIN/peft-merge" -q -m $dir/base -a $dir/adapter -o "$t/$case.shards" --max-shard-size 0.000004 || echo "FAIL formats.$case: shards"
    "$PEFT_BIN/peft-merge" -q -m $dir/base -a $dir/adapter -o "$t/$case.adapter" --adapter-only || echo "FAIL formats.$case: adapter"
    "$python" - $dir "$t/$case" "$case" <<'P' || echo "FAIL formats.$case: a reader refused"
import sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
from safetensors import safe_open
base, out, case = sys.argv[1:]
def load(path):
    m, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), (path, info)
    return m.eval()
ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
def check(name, ok):
    print(f"ok formats.{case}.{name}" if ok else f"FAIL formats.{case}.{name}: logits differ")
with torch.no_grad():
    want = PeftModel.from_pretrained(load(base + "/base"), base + "/adapter").eval()(ids).logits
    near = lambda m: (m(ids).logits - want).abs().max().item() < 1e-4
    check("peft_loads_the_adapter", near(PeftModel.from_pretrained(load(base + "/base"), out + ".adapter").eval()))
    merged = load(out + ".hf.dir")
    check("transformers", near(merged))
    check("transformers_shards", near(load(out + ".shards")))
    for kind in ({}, {"mmap": True}):
        state = torch.load(out + ".hf.pt", weights_only=True, **kind)
        fresh = load(base + "/base")
        fresh.load_state_dict(state, strict=True)
        tied = state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
        check("torch" + "_mmap" * len(kind), near(fresh) and tied == fresh.config.tie_word_embeddings)
with safe_open(out + ".hf.dir/model.safetensors", "pt") as f:
    assert f.metadata()["format"] == "pt"
    same = all(torch.equal(f.get_tensor(k), merged.state_dict()[k]) for k in f.keys())
print(f"ok formats.{case}.safetensors" if same else f"FAIL formats.{case}.safetensors: tensors differ")
P
done
