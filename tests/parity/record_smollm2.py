#!/usr/bin/env python3
"""Record from transformers + peft in f32 what tests/methods/long_smollm2.c compares: tests/parity/smollm2/.

usage: record_smollm2.py HF_DIR OUT_DIR      HF_DIR: the default model's GGUF dequantised to f32 by transformers

Adapter r 8, alpha 16 on q_proj and v_proj with values that both sides compute: element i of the t-th tensor (layer by layer,
q A, q B, v A, v B) is amplitude * sin(0.37 i + t), amplitude 0.02 for A, 0.01 for B. To keep the files small: every 16th logit of the
rows' last positions, 96 evenly spaced entries and the norm of each gradient, the losses of 30 AdamW steps, 50 greedy texts,
and 10 with a prefix of 8 virtual tokens whose element i is 0.7 * sin(0.37 i).
"""
import json, math, os, sys
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

hf, out = sys.argv[1:3]
os.makedirs(out, exist_ok=True)
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
tok = AutoTokenizer.from_pretrained(hf)
PAIRS = [("What is the capital of France?", "Paris"), ("Who wrote Pride and Prejudice?", "Jane Austen"),
         ("Which planet is known as the Red Planet?", "Mars"), ("How many legs does a spider have?", "eight")]
m = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32)

subjects = ["the sea", "a small village", "the moon", "an old clock", "winter", "bread", "a river", "the number seven", "music",
            "a library"]
stems = ["Write about {}:", "Q: What do you know about {}?\nA:", "Once upon a time, {}", "The history of {} begins",
         "def describe():\n    # {}\n"]
prompts = [s.format(x) for s in stems for x in subjects]


def greedy(m, prompts, name, said=True):
    texts = []
    for p in prompts:
        x = tok(p, return_tensors="pt")
        with torch.no_grad():
            y = m.generate(**x, max_new_tokens=24, do_sample=False, pad_token_id=tok.eos_token_id)
        texts.append(dict({"prompt": p} if said else {}, ids=x.input_ids[0].tolist(), new=y[0][x.input_ids.shape[1]:].tolist()))
    with open(os.path.join(out, name), "w") as f:
        json.dump(texts, f, indent=0)


greedy(m, prompts, "greedy.json")
p = get_peft_model(AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32),
                   PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8)).eval()
w = p.prompt_encoder["default"].embedding.weight
with torch.no_grad():
    w.copy_(torch.from_numpy((0.7 * np.sin(0.37 * np.arange(w.numel(), dtype=np.float64))).astype(np.float32)).view_as(w))
greedy(p, prompts[::5], "greedy_prefix.json", False)

rows, masks = [], []
for q, a in PAIRS:
    p = tok("Q: " + q + "\nA:").input_ids
    t = tok(" " + a).input_ids + [tok.eos_token_id]
    rows.append(torch.tensor(p + t))
    masks.append([0] * len(p) + [1] * len(t))
n_lab = sum(map(sum, masks))

m = get_peft_model(m, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
lora = [(n, p) for n, p in m.named_parameters() if "lora_" in n]
layer = lambda n: int(n.split("layers.")[1].split(".")[0])
lora.sort(key=lambda x: (layer(x[0]), "v_proj" in x[0], "lora_B" in x[0]))
with torch.no_grad():
    for t, (n, p) in enumerate(lora):
        i = np.arange(p.numel(), dtype=np.float64)
        v = (0.01 if "lora_B" in n else 0.02) * np.sin(0.37 * i + t)
        p.copy_(torch.from_numpy(v.astype(np.float32)).view_as(p))


def loss_of(keep=None):
    total = 0
    for ids, mask in zip(rows, masks):
        o = m(input_ids=ids[None]).logits[0]
        if keep is not None:
            keep.append(o[-1, ::16].detach().clone())
        lp = torch.log_softmax(o, -1)
        for i in range(1, len(ids)):
            if mask[i]:
                total = total - lp[i - 1, ids[i]]
    return total / n_lab


keep = []
loss = loss_of(keep)
loss.backward()
res = {"logits": torch.stack(keep).contiguous(), "loss": loss.detach().reshape(1)}
samples, norms = [], []
for n, p in lora:
    g = p.grad.reshape(-1)
    samples.append(g[torch.linspace(0, g.numel() - 1, 96).long()])
    norms.append(g.double().norm().float())
res["grad_samples"] = torch.stack(samples).contiguous()
res["grad_norms"] = torch.stack(norms)
opt = torch.optim.AdamW([p for _, p in lora], lr=2e-4, weight_decay=0.01)
losses = []
for _ in range(30):
    opt.zero_grad()
    loss = loss_of()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for _, p in lora], 1.0)
    opt.step()
    losses.append(loss.item())
res["losses"] = torch.tensor(losses)
res["ids"] = torch.cat(rows).to(torch.int32)
res["mask"] = torch.tensor([x for y in masks for x in y], dtype=torch.int32)
res["lens"] = torch.tensor([len(r) for r in rows], dtype=torch.int32)
save_file(res, os.path.join(out, "expect.safetensors"))
print("loss", res["loss"].item(), "last", losses[-1], "labels", n_lab)
