#!/usr/bin/env python3
"""Record whole training runs of transformers' Trainer on a tiny Llama: tests/parity/train/ for tests/cli/train_parity.sh.

usage: record_train.py BIN_DIR OUT_DIR
BIN_DIR holds peft-prep, peft-tok and peft-log, which make the rows: what is compared is training. Of each case the loss, rate and
gradient norm of every step, the loss on the evaluation rows after every epoch, and the adapter at the end are kept. The model
computes in f64 (record_model.py). Dropout masks and the order of rows are those that kernels/dropout.h and base/rng.c define,
written down here once more.
"""
import json, math, os, shutil, subprocess, sys
from record_model import to_f64  # takes this directory off the path, which holds a tokenizers.py
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.utils.data import Dataset, Sampler
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

LETTERS = "▁abcdefghijklmnopqrstuvwxyz"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# batch, accumulation and epochs leave a last step of fewer rows; a norm of 0 never clips
CASES = {
    "linear": dict(lr=0.02, epochs=3, batch=2, accumulate=3, scheduler="linear", warmup=2, decay=0.1, norm=0.3, targets=["q_proj", "v_proj"]),
    "cosine": dict(lr=0.03, epochs=3, batch=4, accumulate=1, scheduler="cosine", warmup=3, decay=0.0, norm=0.0, beta1=0.8, beta2=0.95,
                   eps=1e-6, targets=ALL),
    "constant": dict(lr=0.01, epochs=4, batch=3, accumulate=2, scheduler="constant", warmup=4, decay=0.5, norm=0.05, seed=7, shuffle=True,
                     targets=["q_proj", "down_proj"]),
    "dropout": dict(lr=0.02, epochs=3, batch=2, accumulate=2, scheduler="linear", warmup=0, decay=0.0, norm=1.0, seed=11, dropout=0.3,
                    targets=["k_proj", "o_proj", "up_proj"]),
}
DEFAULTS = dict(beta1=0.9, beta2=0.999, eps=1e-8, seed=42, shuffle=False, dropout=0.0)
U32, U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


# ---- the numbers that the tools draw ----
def philox(ctr, key):
    """Philox 4x32-10; the words of ctr may be arrays."""
    c = [np.asarray(x, dtype=np.uint64) for x in ctr]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        hi0, hi1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c = [hi1 ^ c[1] ^ np.uint64(k0), p1 & np.uint64(U32), hi0 ^ c[3] ^ np.uint64(k1), p0 & np.uint64(U32)]
        k0, k1 = (k0 + 0x9E3779B9) & U32, (k1 + 0xBB67AE85) & U32
    return c


def words(x):
    return x & U32, x >> 32


def rng_u64(seed, stream, index):
    w = philox([*words(index), stream, 0], words(seed))
    return int(w[0]) | int(w[1]) << 32


def permutation(n, seed, epoch):
    p = list(range(n))
    for i in range(n - 1, 0, -1):
        j = rng_u64(seed, 1, epoch << 32 | i) * (i + 1) >> 64
        p[i], p[j] = p[j], p[i]
    return p


def rng_hash(data):
    h = [int(x) for x in philox([*words(len(data)), 4, 1], (0, 0))]
    for at in range(0, len(data), 16):
        b = data[at:at + 16].ljust(16, b"\0")
        h = [int(x) for x in philox([x ^ int.from_bytes(b[4 * i:4 * i + 4], "little") for i, x in enumerate(h)], (0, 0))]
    return h[0] | h[1] << 32


def dropout_key(seed, key):
    z = seed + 0x9E3779B97F4A7C15 * (key | 1) & U64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & U64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
    return z ^ z >> 31


class Mask(torch.nn.Module):
    """Dropout of one projection's input by its own mask; `now` has the step and the names of the batch's tokens."""

    def __init__(self, path, p, seed, now):
        super().__init__()
        self.p, self.now, self.key = p, now, words(dropout_key(seed, rng_hash(path.encode())))

    def forward(self, x):
        if not self.training:
            return x
        uid = self.now["uid"].numpy().astype(np.uint64)[..., None]
        quad = np.arange((x.shape[-1] + 3) // 4, dtype=np.uint64)
        w = philox([quad + 0 * uid, (uid & np.uint64(U32)) + 0 * quad, (uid >> np.uint64(32)) + 0 * quad, np.uint64(self.now["step"])], self.key)
        w = np.stack(w, -1).reshape(*x.shape[:-1], -1)[..., :x.shape[-1]]
        keep = w >= int(np.float32(self.p) * 4294967296.0)
        return x * torch.from_numpy(keep / (1 - float(np.float32(self.p))))


# ---- the model and its rows ----
def make_base(d):
    torch.manual_seed(1)
    shutil.rmtree(d, ignore_errors=True)
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *LETTERS])}
    m = LlamaForCausalLM(LlamaConfig(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
                                     num_key_value_heads=2, vocab_size=len(vocab), max_position_embeddings=64, rms_norm_eps=1e-5,
                                     tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)).float()
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if "norm" in n else 0.3 * torch.randn_like(p))
    m.save_pretrained(d)
    special = [dict(id=i, content=t, special=True, normalized=False) for t, i in list(vocab.items())[:3]]
    replace = lambda a, b: dict(type="Replace", pattern=dict(String=a), content=b)
    tokenizer = dict(version="1.0", added_tokens=special, normalizer=replace(" ", "▁"), decoder=replace("▁", " "),
                     model=dict(type="BPE", unk_token="<unk>", fuse_unk=False, byte_fallback=False, vocab=vocab, merges=[]))
    with open(os.path.join(d, "tokenizer.json"), "w") as f:
        json.dump(tokenizer, f, ensure_ascii=False, indent=0)
    with open(os.path.join(d, "tokenizer_config.json"), "w") as f:
        json.dump(dict(bos_token="<s>", eos_token="</s>"), f)
    return m


def rows_of(bin_dir, base, table):
    """The rows as the tools make them: number, ids, labels."""
    tool = lambda name, *a, **k: subprocess.run([os.path.join(bin_dir, name), "-q", *a], check=True, capture_output=True, **k).stdout
    made = tool("peft-prep", "--prompt", "{question}", "--target", " {answer}", table)
    text = tool("peft-log", "cat", input=tool("peft-tok", "-m", base, input=made))
    rows = []
    for r in map(json.loads, text.decode().splitlines()):
        labels = [i if m and k else -100 for k, (i, m) in enumerate(zip(r["ids"], r["mask"]))]
        rows.append(dict(row=r["row"], ids=r["ids"], labels=labels))
    return rows


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def collate(rows):
    n = max(len(r["ids"]) for r in rows)
    pad = lambda x, with_: x + [with_] * (n - len(x))
    return dict(input_ids=torch.tensor([pad(r["ids"], 0) for r in rows]), labels=torch.tensor([pad(r["labels"], -100) for r in rows]),
                attention_mask=torch.tensor([pad([1] * len(r["ids"]), 0) for r in rows]),
                uid=torch.tensor([[(r["row"] << 20) + i for i in range(n)] for r in rows]))


class Order(Sampler):
    def __init__(self, n, seed, shuffle):
        self.n, self.seed, self.shuffle, self.epoch = n, seed, shuffle, 0

    def __len__(self):
        return self.n

    def set_epoch(self, epoch):
        pass

    def __iter__(self):
        yield from permutation(self.n, self.seed, self.epoch) if self.shuffle else range(self.n)
        self.epoch += 1


class Run(Trainer):
    def _get_train_sampler(self, *_):
        return self.order

    def compute_loss(self, model, inputs, *a, **k):
        self.now["uid"] = inputs.pop("uid")
        self.now["step"] = self.state.global_step
        return super().compute_loss(model, inputs, *a, **k)


    def training_step(self, *a, **k):
        """The log rounds the loss to four places."""
        loss = super().training_step(*a, **k)
        self.exact[self.state.global_step] = self.exact.get(self.state.global_step, 0.0) + loss.item()
        return loss


class EachEpoch(TrainerCallback):
    def __init__(self, rows):
        self.rows, self.losses = rows, []

    def on_epoch_end(self, args, state, control, model=None, **_):
        model.eval()
        total = count = 0
        with torch.no_grad():
            for r in self.rows:
                lp = torch.log_softmax(model(input_ids=torch.tensor([r["ids"]])).logits[0].double(), -1)
                for i, label in enumerate(r["labels"]):
                    if label >= 0:
                        total, count = total - lp[i - 1, label].item(), count + 1
        model.train()
        self.losses.append(total / count)


def options(c):
    o = ["--lr", c["lr"], "--epochs", c["epochs"], "--batch-size", c["batch"], "--accumulate", c["accumulate"], "--scheduler", c["scheduler"],
         "--warmup-steps", c["warmup"], "--weight-decay", c["decay"], "--max-grad-norm", c["norm"], "--beta1", c["beta1"], "--beta2", c["beta2"],
         "--eps", c["eps"], "--seed", c["seed"], "--shuffle", "yes" if c["shuffle"] else "no"]
    return [str(x) for x in o]


def record(name, c, m, train, test, out):
    c = {**DEFAULTS, **c}
    d = os.path.join(out, name)
    os.makedirs(d)
    torch.manual_seed(sum(map(ord, name)))
    m = get_peft_model(m, LoraConfig(r=3, lora_alpha=6, lora_dropout=c["dropout"], target_modules=c["targets"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for n, p in m.named_parameters():
            if p.requires_grad:
                p.copy_(0.2 * torch.randn_like(p))
    m.save_pretrained(os.path.join(d, "adapter"))
    os.remove(os.path.join(d, "adapter", "README.md"))
    now = {}
    to_f64(m)
    for n, mod in m.named_modules():
        if c["dropout"] and n.endswith("lora_dropout"):
            mod["default"] = Mask(n.removeprefix("base_model.model.").removesuffix(".lora_dropout"), c["dropout"], c["seed"], now)
    args = TrainingArguments(
        output_dir="/tmp/record_train", learning_rate=c["lr"], num_train_epochs=c["epochs"], per_device_train_batch_size=c["batch"],
        gradient_accumulation_steps=c["accumulate"], lr_scheduler_type={"constant": "constant_with_warmup"}.get(c["scheduler"], c["scheduler"]),
        warmup_steps=c["warmup"], weight_decay=c["decay"], max_grad_norm=c["norm"], adam_beta1=c["beta1"], adam_beta2=c["beta2"],
        adam_epsilon=c["eps"], logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False, optim="adamw_torch", seed=c["seed"], logging_nan_inf_filter=False)
    each = EachEpoch(test)
    t = Run(model=m, args=args, train_dataset=Rows(train), data_collator=collate, callbacks=[each])
    t.now, t.order, t.exact = now, Order(len(train), c["seed"], c["shuffle"]), {}
    t.train()
    steps = [h for h in t.state.log_history if "loss" in h]
    final = {n.replace(".default", ""): p.detach().float().contiguous() for n, p in m.named_parameters() if p.requires_grad}
    save_file(final, os.path.join(d, "final.safetensors"))
    expect = dict(options=options(c), eval_loss=each.losses, steps=[
        dict(loss=t.exact[h["step"] - 1], learning_rate=h["learning_rate"], **({"grad_norm": float(h["grad_norm"])} if c["norm"] else {})) for h in steps])
    with open(os.path.join(d, "expect.json"), "w") as f:
        json.dump(expect, f, indent=1)
        f.write("\n")
    assert all(abs(h["loss"] - t.exact[h["step"] - 1]) < 1e-4 for h in steps)
    print(name, len(steps), "steps, losses", expect["steps"][0]["loss"], expect["steps"][-1]["loss"], each.losses[-1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    bin_dir, out = sys.argv[1:3]
    base = os.path.join(out, "base")
    make_base(base)
    train, test = (rows_of(bin_dir, base, os.path.join(out, f)) for f in ("train.csv", "test.csv"))
    for k, c in CASES.items():
        shutil.rmtree(os.path.join(out, k), ignore_errors=True)
        record(k, c, LlamaForCausalLM.from_pretrained(base), train, test, out)
