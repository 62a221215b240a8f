#!/usr/bin/env python3
"""Record small vectors from transformers + peft: tests/parity/model/<case>/ for tests/methods/parity.c.

usage: record_model.py OUT_DIR
Each case is a tiny random Llama (grouped queries, tied and untied heads, odd sizes, Llama-3 RoPE scaling), a PEFT adapter with
random A and B, two packed rows with label masks, and what transformers + peft in f32 make of them: logits, loss, every
adapter gradient, and the losses of 30 AdamW steps. Written as a Hugging Face directory, a PEFT directory and expect.safetensors.
"""
import math, os, shutil, sys
# this directory holds a tokenizers.py, which must not hide the package of that name
sys.path.pop(0)
import torch, transformers, peft
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from peft import LoraConfig, get_peft_model

CASES = {
    "gqa_tied": dict(C=24, F=40, L=2, H=4, K=2, D=6, V=61, tied=True, targets=["q_proj", "v_proj"], r=4, rs=False),
    "mha_untied_all": dict(C=20, F=33, L=3, H=2, K=2, D=10, V=47, tied=False, targets="all-linear", r=3, rs=True),
    "odd_llama3": dict(C=36, F=50, L=2, H=3, K=1, D=8, V=101, tied=True, targets=["o_proj", "down_proj", "gate_proj"], r=8, rs=False,
                       rope=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                 original_max_position_embeddings=16)),
}


LENS = [11, 7]
LABELS = (4, 6)


def begin(name, out):
    """Seed by the name of the case; an empty directory for it."""
    torch.manual_seed(sum(map(ord, name)))
    d = os.path.join(out, name)
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(d)
    return d


def randomise(m):
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if "norm" in n else 0.3 * torch.randn_like(p))


def random_rows(vocab):
    rows = [torch.randint(3, vocab, (n,)) for n in LENS]
    masks = [torch.tensor([0] * (n - k) + [1] * k) for n, k in zip(LENS, LABELS)]
    return rows, masks


def norm_f64(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotary_f64(self, x, position_ids):
    half = self.inv_freq.shape[0]
    freq = torch.exp(-math.log(self.config.rope_theta) * torch.arange(half, dtype=torch.float64) / half)
    angle = position_ids[..., None].double() * freq
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


def rotary_scaled_f64(self, x, position_ids):
    """By transformers' own frequencies, which are f32: of longrope those that it takes for a row of this length."""
    type(self).forward(self, x, position_ids)
    angle = position_ids[..., None].double() * self.inv_freq.double()
    angle = torch.cat((angle, angle), -1)
    return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling


def to_f64(m):
    """Both layers round to f32 inside whatever the model's type is."""
    m.double()
    for mod in m.modules():
        if type(mod).__name__.endswith("RMSNorm"):
            mod.forward = norm_f64.__get__(mod)
        elif type(mod).__name__.endswith("RotaryEmbedding"):
            mod.forward = (rotary_f64 if mod.rope_type == "default" else rotary_scaled_f64).__get__(mod)


def measure(m, rows, masks, param_name, skip=0, optimizer=torch.optim.AdamW):
    """Logits, loss, gradients, and the losses of 30 AdamW steps; skip: leading positions of the output that are no token's."""
    n_lab = sum(int(x.sum()) for x in masks)
    res = {}

    def loss_of():
        total = 0
        logits = []
        for ids, mask in zip(rows, masks):
            o = m(input_ids=ids[None]).logits[0][skip:]
            logits.append(o)
            lp = torch.log_softmax(o.double(), -1)
            for i in range(1, len(ids)):
                if mask[i]:
                    total = total - lp[i - 1, ids[i]]
        return total / n_lab, logits

    loss, logits = loss_of()
    loss.backward()
    res["logits"] = torch.cat(logits).detach().contiguous()
    res["loss"] = loss.detach().reshape(1)
    for n, p in m.named_parameters():
        if p.grad is not None:
            res["grad." + param_name(n)] = p.grad.detach().contiguous()
    if optimizer is torch.optim.AdamW:
        opt = optimizer([p for p in m.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.01)
    else:
        opt = optimizer(m)
    losses = []
    for _ in range(30):
        opt.zero_grad()
        loss, _ = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in m.parameters() if p.requires_grad], 1.0)
        opt.step()
        losses.append(loss.item())
    res["losses"] = torch.tensor(losses, dtype=torch.float64)
    return res


def write(d, res, rows, masks, **versions):
    res = {k: v.float() for k, v in res.items()}
    res["ids"] = torch.cat(rows).to(torch.int32)
    res["mask"] = torch.cat(masks).to(torch.int32)
    res["lens"] = torch.tensor(LENS, dtype=torch.int32)
    save_file(res, os.path.join(d, "expect.safetensors"),
              metadata={"torch": torch.__version__, "transformers": transformers.__version__, **versions})


def run(name, c, out):
    d = begin(name, out)
    cfg = LlamaConfig(hidden_size=c["C"], intermediate_size=c["F"], num_hidden_layers=c["L"], num_attention_heads=c["H"],
                      num_key_value_heads=c["K"], head_dim=c["D"], vocab_size=c["V"], max_position_embeddings=64,
                      tie_word_embeddings=c["tied"], rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
    if "rope" in c:
        theta = 500.0
        if hasattr(cfg, "rope_parameters"):
            cfg.rope_parameters = dict(c["rope"], rope_theta=theta)
        else:
            cfg.rope_scaling, cfg.rope_theta = c["rope"], theta
    m = LlamaForCausalLM(cfg).float()
    randomise(m)
    m.save_pretrained(os.path.join(d, "base"))
    lc = LoraConfig(r=c["r"], lora_alpha=2 * c["r"], lora_dropout=0.0, target_modules=c["targets"], use_rslora=c["rs"],
                    task_type="CAUSAL_LM")
    m = get_peft_model(m, lc)
    with torch.no_grad():
        for n, p in m.named_parameters():
            if "lora_" in n:
                p.copy_(0.1 * torch.randn_like(p))
    m.save_pretrained(os.path.join(d, "adapter"))
    for f in ("README.md",):
        p = os.path.join(d, "adapter", f)
        if os.path.exists(p):
            os.remove(p)
    rows, masks = random_rows(c["V"])
    res = measure(m, rows, masks, lambda n: n.replace(".default", ""))
    write(d, res, rows, masks, peft=peft.__version__)
    print(name, "loss", res["loss"].item(), "last", res["losses"][-1].item())


if __name__ == "__main__":
    for k, v in CASES.items():
        run(k, v, sys.argv[1])
