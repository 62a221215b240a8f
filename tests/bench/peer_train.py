#!/usr/bin/env python3
"""The peer's side of the row qa of peer.py: LoRA training by transformers + peft as its users write it (padded batches of 4, 8 of them
accumulated, loss on the answers), f32 on the CPU. Prints one JSON object; the time is that of the training loop alone, without
imports, loading and tokenizing.

usage: peer_train.py MODEL ROWS.csv THREADS
"""
import csv, json, os, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import LoraConfig, get_peft_model

path, rows, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(42)
where = dict(pretrained_model_name_or_path=path)
if os.path.isfile(path):
    where = dict(pretrained_model_name_or_path=os.path.dirname(os.path.abspath(path)), gguf_file=os.path.basename(path))
tok = AutoTokenizer.from_pretrained(**where)
m = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
m = get_peft_model(m, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
m.train()
data = []
for r in csv.DictReader(open(rows)):
    p = tok("Q: " + r["question"] + "\nA:", add_special_tokens=False).input_ids
    t = tok(" " + r["answer"], add_special_tokens=False).input_ids + [tok.eos_token_id]
    data.append((p + t, [-100] * len(p) + t))
opt = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
pad = tok.eos_token_id
t0 = time.time()
losses = []
for i in range(0, len(data), 32):
    step = data[i:i + 32]
    n = sum(x != -100 for _, l in step for x in l[1:])
    total = 0.0
    for k in range(0, len(step), 4):
        b = step[k:k + 4]
        w = max(len(x) for x, _ in b)
        ids = torch.tensor([x + [pad] * (w - len(x)) for x, _ in b])
        lab = torch.tensor([l + [-100] * (w - len(l)) for _, l in b])
        att = torch.tensor([[1] * len(x) + [0] * (w - len(x)) for x, _ in b])
        loss = m(input_ids=ids, attention_mask=att, labels=lab, num_items_in_batch=torch.tensor(n)).loss
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_([p for p in m.parameters() if p.requires_grad], 1.0).item()
    opt.step()
    opt.zero_grad()
    losses.append(total)
s = time.time() - t0
print(json.dumps(dict(seconds=s, rows=len(data), tokens=sum(len(x) for x, _ in data), rows_s=len(data) / s, first_loss=losses[0],
                      last_loss=losses[-1], last_norm=norm, torch=torch.__version__)))
