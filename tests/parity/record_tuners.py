#!/usr/bin/env python3
"""Record small vectors of methods that replace or reparametrise weights: tests/parity/model/<case>/ for tests/methods/parity.c.

usage: record_tuners.py OUT_DIR [CASE...]
As record_methods.py: LN tuning, BEFT (our bitfit), LoHa, LoKr and VeRA of peft, and full fine-tuning of transformers alone.
Computed in f64 from the f32 values that are saved; how far f32 is from it is printed.
"""
import json, os, sys
# first of all: these take this directory off the path
from record_methods import ATTENTION, MLP, NARROW, llama, qwen2, rel, save_peft
from record_model import begin, measure, random_rows, randomise, to_f64, write
import peft, torch
from peft import BeftConfig, LNTuningConfig, LoHaConfig, LoKrConfig, VeraConfig, get_peft_model
from safetensors.torch import save_file


def nudged(m, std=0.1):
    """Every trained value away from its start."""
    with torch.no_grad():
        for p in m.parameters():
            if p.requires_grad:
                p.add_(std * torch.randn_like(p))
    return m


def with_peft(cls, std=0.1, **over):
    return lambda m: nudged(get_peft_model(m, cls(task_type="CAUSAL_LM", **over)), std)


def save_full(m, d):
    os.makedirs(os.path.join(d, "adapter"))
    with open(os.path.join(d, "adapter", "adapter_config.json"), "w") as f:
        json.dump(dict(peft_type="FULL", base_model_name_or_path=None, target_modules=["all"]), f)
    save_file({n: p.detach().clone() for n, p in m.named_parameters()},
              os.path.join(d, "adapter", "adapter_model.safetensors"))


CASES = {
    "ln_tuning": dict(base=llama, attach=with_peft(LNTuningConfig)),
    "ln_tuning_more": dict(base=lambda: qwen2(tie_word_embeddings=False, **NARROW),
                           attach=with_peft(LNTuningConfig, target_modules=["post_attention_layernorm", "q_proj",
                                                                            "embed_tokens", "lm_head"])),
    "bitfit": dict(base=qwen2, attach=with_peft(BeftConfig, target_modules=["q_proj", "k_proj", "v_proj"])),
    "full_tied": dict(base=lambda: qwen2(**NARROW), attach=nudged),
    "loha": dict(base=llama, attach=with_peft(LoHaConfig, r=3, alpha=4, target_modules=ATTENTION + MLP)),
    "lokr": dict(base=llama, attach=with_peft(LoKrConfig, r=2, alpha=3, target_modules=ATTENTION + MLP)),
    "lokr_both": dict(base=llama, attach=with_peft(LoKrConfig, r=1, alpha=2, decompose_both=True,
                                                   target_modules=["q_proj", "k_proj", "down_proj"])),
    "lokr_whole": dict(base=llama, attach=with_peft(LoKrConfig, r=8, alpha=4, decompose_factor=4,
                                                    target_modules=["q_proj", "v_proj", "up_proj"])),
    "vera": dict(base=llama, attach=with_peft(VeraConfig, r=5, target_modules=ATTENTION + MLP)),
}


def run(name, c, out):
    d = begin(name, out)
    m = c["base"]().float()
    randomise(m)
    m.save_pretrained(os.path.join(d, "base"))
    m = c["attach"](m)
    if isinstance(m, peft.PeftModel):
        save_peft(m, d, save_embedding_layers=False)
    else:
        save_full(m, d)
    param_name = lambda n: n.replace(".default", "")
    rows, masks = random_rows(m.config.vocab_size)
    start = {n: p.detach().clone() for n, p in m.named_parameters() if p.requires_grad}
    single = measure(m, rows, masks, param_name)
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.grad = None
            if n in start:
                p.copy_(start[n])
    to_f64(m)
    res = measure(m, rows, masks, param_name)
    write(d, res, rows, masks, peft=peft.__version__)
    grads = [k for k in res if k.startswith("grad.")]
    worst = max(grads, key=lambda k: rel(single[k], res[k]))
    print(f"{name}: loss {res['loss'].item():.6f}, last {res['losses'][-1].item():.6f}; f32 against f64: "
          f"logits {rel(single['logits'], res['logits']):.1e}, loss {rel(single['loss'], res['loss']):.1e}, "
          f"30 losses {((single['losses'] - res['losses']).abs() / res['losses']).max().item():.1e}, "
          f"gradients {rel(single[worst], res[worst]):.1e} ({worst[5:]})", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for k in sys.argv[2:] or CASES:
        run(k, CASES[k], sys.argv[1])
