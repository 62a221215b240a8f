#!/usr/bin/env python3
"""Record small vectors of more methods and architectures: tests/parity/model/<case>/ for tests/methods/parity.c.

usage: record_methods.py OUT_DIR [CASE...]
As record_model.py, with IA3, prompt and prefix tuning (peft), bottleneck adapters (AdapterHub's adapters) and Qwen2 and Mistral with LoRA.
What is recorded is computed in f64, norms and rotary angles included, and stored as f32; how far the same run in f32 is
from it is printed: a tolerance has to allow that much. `adapters` needs transformers 4.57.
"""
import json, os, sys
# first of all: it takes this directory off the path
from record_model import begin, measure, random_rows, randomise, to_f64, write
import adapters, peft, torch
from peft.optimizers import create_loraplus_optimizer
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

SMALL = dict(hidden_size=24, intermediate_size=26, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=41, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
NARROW = dict(hidden_size=20, num_attention_heads=2, num_key_value_heads=1)
TURNED = dict(num_attention_heads=2, num_key_value_heads=1, head_dim=16, rope_theta=20.0)
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def llama(**over):
    return LlamaForCausalLM(LlamaConfig(**{**SMALL, "rms_norm_eps": 1e-5, **over}))


def qwen2(**over):
    return Qwen2ForCausalLM(Qwen2Config(**{**SMALL, "rms_norm_eps": 1e-6, **over}))


def mistral(**over):
    return MistralForCausalLM(MistralConfig(**{**SMALL, "rms_norm_eps": 1e-5, **over}))


def hub_spelling(base):
    """What Qwen2 files of before transformers 4.5x say: a window that is not in use, no list of layer types."""
    path = os.path.join(base, "config.json")
    with open(path) as f:
        cfg = json.load(f)
    for k in ("layer_types", "rope_scaling"):
        cfg.pop(k, None)
    cfg.update(sliding_window=4, max_window_layers=1, use_sliding_window=False)
    with open(path, "w") as f:
        json.dump(cfg, f, indent=2, sort_keys=True)
        f.write("\n")


def five_spelling(base):
    """The rotary scaling as transformers 5 writes it."""
    path = os.path.join(base, "config.json")
    with open(path) as f:
        cfg = json.load(f)
    cfg["rope_parameters"] = dict(cfg.pop("rope_scaling"), rope_theta=cfg.pop("rope_theta"))
    with open(path, "w") as f:
        json.dump(cfg, f, indent=2, sort_keys=True)
        f.write("\n")


def with_peft(m, config, centre=0.0, std=0.1):
    m = get_peft_model(m, config)
    with torch.no_grad():
        for p in m.parameters():
            if p.requires_grad:
                p.copy_(centre + std * torch.randn_like(p))
    return m


def save_peft(m, d, **how):
    m.save_pretrained(os.path.join(d, "adapter"), **how)
    os.remove(os.path.join(d, "adapter", "README.md"))
    return os.path.join(d, "adapter", "adapter_model.safetensors")


def with_bottleneck(m, config):
    adapters.init(m)
    m.add_adapter("a", config=config)
    m.train_adapter("a")
    with torch.no_grad():
        for n, p in m.named_parameters():
            if p.requires_grad:
                p.copy_((1.0 if n.endswith("scaling") else 0.0) + 0.2 * torch.randn_like(p))
    return m


def save_bottleneck(m, d, default_too=False):
    m.save_adapter(os.path.join(d, "adapter"), "a", with_head=False, use_safetensors=True)
    if default_too:
        m.save_adapter(os.path.join(d, "adapter_bin"), "a")
    return os.path.join(d, "adapter", "adapter.safetensors")


def peft_name(n):
    if n == "prompt_encoder.default.embedding.weight":
        return "prompt_embeddings"
    return n.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def ia3(targets, inputs):
    config = IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=inputs)
    return lambda m: with_peft(m, config, 1.0, 0.3)


def lora(targets):
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    return lambda m: with_peft(m, config)


def patterns(**over):
    """Ranks and scales by expressions, of which the first that matches counts (they are saved in alphabetical order);
    layers, and a whole path beside them."""
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, task_type="CAUSAL_LM", layers_to_transform=[1],
                        target_modules=["q_proj", "v_proj", "mlp.up_proj", "model.layers.0.mlp.down_proj"],
                        rank_pattern={"down_proj": 1, r"layers\.1\..*q_proj": 2, "q_proj": 5},
                        alpha_pattern={"(down|up)_proj": 3, "up_proj": 20, "v_proj": 4}, **over)
    return lambda m: with_peft(m, config)


def chosen(**over):
    """Modules that are taken away again, by an expression and by layers in a list of a given name."""
    config = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, use_rslora=True, task_type="CAUSAL_LM",
                        target_modules=ATTENTION + MLP, layers_to_transform=[0, 2], layers_pattern=["blocks", "layers"],
                        exclude_modules=r".*\.2\..*(k|up)_proj", **over)
    return lambda m: with_peft(m, config)


def dora(**over):
    return lambda m: with_peft(m, LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=ATTENTION + MLP, use_dora=True,
                                             task_type="CAUSAL_LM", **over), 0.1, 0.2)


def loraplus(m):
    return create_loraplus_optimizer(m, torch.optim.AdamW, lr=3e-3, loraplus_lr_ratio=4.0, loraplus_weight_decay=0.01)


def started(how, **over):
    """As PEFT begins it: values taken out of the base, which it changes; an adapter is not saved."""
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=ATTENTION + MLP, init_lora_weights=how,
                        task_type="CAUSAL_LM", **over)
    return lambda m: get_peft_model(m, config)


def prompt(n):
    return lambda m: with_peft(m, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=n), 0.0, 0.3)


def prefix(n, **over):
    return lambda m: with_peft(m, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=n, **over), 0.0, 0.7)


def p_tuning(n, std, **over):
    return lambda m: with_peft(m, PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=n, **over), 0.0, std)


def save_trained(m, d):
    """What is trained, as peft-train's checkpoints have it: peft itself saves the values computed of it alone."""
    m.save_pretrained(os.path.join(d, "adapter"))
    os.remove(os.path.join(d, "adapter", "README.md"))
    config, saved = (os.path.join(d, "adapter", f) for f in ("adapter_config.json", "adapter_model.safetensors"))
    with open(config) as f:
        c = json.load(f)
    with open(config, "w") as f:
        json.dump(dict(c, inference_mode=False), f, indent=2, sort_keys=True)
    save_file({trained_name(n): p.detach().clone() for n, p in m.named_parameters() if p.requires_grad}, saved,
              metadata={"format": "pt"})
    return saved


def trained_name(n):
    return n.replace(".default", "")


def bottleneck(cls, **over):
    return lambda m: with_bottleneck(m, cls(**over))


CASES = {
    "ia3_default": dict(base=llama, attach=ia3(["k_proj", "v_proj", "down_proj"], ["down_proj"])),
    "ia3_all": dict(base=llama, attach=ia3(ATTENTION + MLP, MLP)),
    "prompt": dict(base=llama, attach=prompt(5), skip=5),
    "prefix": dict(base=llama, attach=prefix(5)),
    "prefix_head": dict(base=lambda: qwen2(num_hidden_layers=3, tie_word_embeddings=False, head_dim=6, **NARROW),
                        attach=prefix(1)),
    "prefix_projection": dict(base=llama, attach=prefix(4, prefix_projection=True, encoder_hidden_size=7), trained=True),
    "p_tuning": dict(base=llama, attach=p_tuning(5, 0.4, encoder_hidden_size=9), skip=5, trained=True),
    "p_tuning_lstm": dict(base=llama, attach=p_tuning(4, 0.5, encoder_reparameterization_type="LSTM",
                                                      encoder_hidden_size=5), skip=4, trained=True),
    "bn_seq": dict(base=llama, attach=bottleneck(adapters.SeqBnConfig, reduction_factor=4), default_too=True),
    "bn_double": dict(base=llama, attach=bottleneck(adapters.DoubleSeqBnConfig, reduction_factor=3)),
    "bn_par": dict(base=llama, attach=bottleneck(adapters.ParBnConfig)),
    "bn_leave": dict(base=lambda: llama(num_hidden_layers=3, **NARROW),
                     attach=bottleneck(adapters.DoubleSeqBnConfig, reduction_factor={"0": 3, "default": 8},
                                       leave_out=[1], scaling=0.7, non_linearity="gelu")),
    "bn_learned": dict(base=llama, attach=bottleneck(adapters.SeqBnConfig, reduction_factor=4, scaling="learned",
                                                     non_linearity="tanh", residual_before_ln=False)),
    "qwen2": dict(base=qwen2, attach=lora(["q_proj", "v_proj", "gate_proj"])),
    "qwen2_untied": dict(base=lambda: qwen2(tie_word_embeddings=False, rope_theta=1e6, **NARROW), edit=hub_spelling,
                         attach=lora(ATTENTION + MLP)),
    "lora_patterns": dict(base=llama, attach=patterns()),
    "lora_chosen": dict(base=lambda: llama(num_hidden_layers=3, **NARROW), attach=chosen()),
    "dora": dict(base=llama, attach=dora()),
    "dora_qwen2": dict(base=lambda: qwen2(**NARROW), attach=dora(use_rslora=True, rank_pattern={"k_proj": 1})),
    "lora_plus": dict(base=lambda: llama(**NARROW), attach=dora(), optimizer=loraplus),
    "pissa": dict(base=llama, attach=started("pissa", use_rslora=True), start=True),
    "olora": dict(base=lambda: llama(**NARROW), attach=started("olora", rank_pattern={"q_proj": 2}), start=True),
    "mistral_window": dict(base=lambda: mistral(sliding_window=4), attach=lora(ATTENTION)),
    "qwen2_window": dict(base=lambda: qwen2(num_hidden_layers=3, sliding_window=3, max_window_layers=1,
                                            use_sliding_window=True), attach=lora(ATTENTION + MLP)),
    "yarn": dict(base=lambda: llama(rope_scaling=dict(rope_type="yarn", factor=4.0), **TURNED), attach=lora(ATTENTION)),
    "yarn_all": dict(base=lambda: qwen2(rope_scaling=dict(rope_type="yarn", factor=8.0, beta_fast=2.0, beta_slow=0.25,
                                                          mscale=0.7, mscale_all_dim=1.9, truncate=False,
                                                          original_max_position_embeddings=16), **TURNED),
                     edit=five_spelling, attach=lora(ATTENTION)),
    "longrope": dict(base=lambda: mistral(original_max_position_embeddings=8, sliding_window=None,
                                          rope_scaling=dict(rope_type="longrope", factor=2.0,
                                                            short_factor=[1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6],
                                                            long_factor=[1.1, 1.5, 2.0, 3.0, 4.0, 5.5, 7.0, 8.0]),
                                          **TURNED), attach=lora(ATTENTION)),
}


def rel(a, b):
    return ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()


def run(name, c, out):
    d = begin(name, out)
    m = c["base"]().float()
    randomise(m)
    m.save_pretrained(os.path.join(d, "base"))
    if "edit" in c:
        c["edit"](os.path.join(d, "base"))
    m = c["attach"](m)
    if "start" in c:
        saved, version, param_name = None, dict(peft=peft.__version__), peft_name
    elif isinstance(m, peft.PeftModel):
        trained = c.get("trained", False)
        saved = (save_trained if trained else save_peft)(m, d)
        version, param_name = dict(peft=peft.__version__), trained_name if trained else peft_name
    else:
        saved = save_bottleneck(m, d, c.get("default_too", False))
        version, param_name = dict(adapters=adapters.__version__), str
    rows, masks = random_rows(m.config.vocab_size)
    start = {n: p.detach().clone() for n, p in m.named_parameters() if p.requires_grad}
    single = measure(m, rows, masks, param_name, c.get("skip", 0), c.get("optimizer", torch.optim.AdamW))
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.grad = None
            if n in start:
                p.copy_(start[n])
    to_f64(m)
    flat = m.get_prompt_embedding_to_save("default").float().clone() if c.get("trained", False) else None
    res = measure(m, rows, masks, param_name, c.get("skip", 0), c.get("optimizer", torch.optim.AdamW))
    grads = [k for k in res if k.startswith("grad.")]
    in_file = load_file(saved) if saved else {k[5:]: res[k] for k in grads}
    assert {k[5:]: res[k].shape for k in grads} == {k: v.shape for k, v in in_file.items()}
    assert all(res[k].abs().max() > 0 for k in grads)
    if flat is not None:
        res["flat"] = flat
    if not saved:  # signs of singular vectors are anybody's
        res = {k: v for k, v in res.items() if k not in grads}
    write(d, res, rows, masks, **version)
    size = sum(os.path.getsize(os.path.join(p, f)) for p, _, fs in os.walk(d) for f in fs)
    if not saved:
        print(f"{name}: {size} bytes, loss {res['loss'].item():.6f}, last {res['losses'][-1].item():.6f}; f32 against f64: "
              f"30 losses {((single['losses'] - res['losses']).abs() / res['losses']).max().item():.1e}", flush=True)
        return
    worst = max(grads, key=lambda k: rel(single[k], res[k]))
    print(f"{name}: {size} bytes, loss {res['loss'].item():.6f}, last {res['losses'][-1].item():.6f}; f32 against f64: "
          f"logits {rel(single['logits'], res['logits']):.1e}, loss {rel(single['loss'], res['loss']):.1e}, "
          f"30 losses {((single['losses'] - res['losses']).abs() / res['losses']).max().item():.1e}, "
          f"gradients {rel(single[worst], res[worst]):.1e} ({worst[5:]})", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for k in sys.argv[2:] or CASES:
        run(k, CASES[k], sys.argv[1])
