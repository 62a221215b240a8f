#!/usr/bin/env python3
"""record_combine.py OUT: three LoRA adapters of one tiny model, and what peft's add_weighted_adapter makes of them in each of its
ways: OUT/a, b, c and OUT/expect.safetensors with "CASE.MODULE.A" and ".B", or their product ".W" where signs are free (svd). The
cases are those of tests/methods/combine.c, in its order. Where peft draws a mask it is ours that is drawn (libcommon/base/rng.h,
merge/combine.c): a pure function of the seed 42, module, adapter."""
import os
import sys
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import merge_utils
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

CASES = [("linear", dict(a=0.7, b=0.3), {}), ("linear", dict(a=1.0, b=-0.5), {}), ("cat", dict(a=0.7, b=0.3, c=-1.0), {}),
         ("svd", dict(a=0.7, b=0.3, c=-1.0), {}), ("svd", dict(a=0.7, b=0.3, c=-1.0), dict(svd_rank=3)),
         ("ties", dict(a=0.7, b=0.3), dict(density=0.5)),
         ("ties", dict(a=0.7, b=0.3), dict(density=0.5, majority_sign_method="frequency")),
         ("ties_svd", dict(a=0.7, b=0.3, c=0.4), dict(density=0.5, svd_rank=6)),
         ("dare_linear", dict(a=0.7, b=0.3), dict(density=0.6)), ("dare_linear_svd", dict(a=0.7, b=0.3), dict(density=0.6)),
         ("dare_ties", dict(a=0.7, b=0.3), dict(density=0.6)), ("dare_ties_svd", dict(a=0.7, b=0.3), dict(density=0.6)),
         ("magnitude_prune", dict(a=0.7, b=-0.3), dict(density=0.4)), ("magnitude_prune_svd", dict(a=0.7, b=0.3), dict(density=0.4))]
M = 0xFFFFFFFF


def philox(c, k):
    c, k = list(c), list(k)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & M, (p0 >> 32) ^ c[3] ^ k[1], p0 & M]
        k = [(k[0] + 0x9E3779B9) & M, (k[1] + 0xBB67AE85) & M]
    return c


def name_hash(text):  # rng_hash(0, text)
    b = text.encode()
    h = philox([len(b) & M, len(b) >> 32, 4, 1], [0, 0])
    for at in range(0, len(b), 16):
        part = b[at:at + 16].ljust(16, b"\0")
        h = philox([h[i] ^ int.from_bytes(part[4 * i:4 * i + 4], "little") for i in range(4)], [0, 0])
    return h[1] << 32 | h[0]


def mask(shape, density, name):
    seed = 42 ^ name_hash(name)
    draw = [philox([i & M, i >> 32, 6, 0], [seed & M, seed >> 32]) for i in range(int(np.prod(shape)))]
    unit = [((r[1] << 32 | r[0]) >> 11) * 2.0 ** -53 for r in draw]
    return torch.tensor([u < density for u in unit]).reshape(shape)


def main(out):
    torch.manual_seed(7)
    base = LlamaForCausalLM(LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                                        num_key_value_heads=2, vocab_size=32, max_position_embeddings=64, tie_word_embeddings=True))
    configs = dict(a=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
                   b=LoraConfig(r=4, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"]),
                   c=LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "o_proj"],
                                rank_pattern={"layers.1.self_attn.o_proj": 3}, alpha_pattern={"o_proj": 5}))
    model = get_peft_model(base, configs["a"], adapter_name="a")
    for name in "bc":
        model.add_adapter(name, configs[name])
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data.normal_(0, 0.2)
    layers = {n[len("base_model.model."):]: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    of_tensor = {}

    def pruned(tensor, density, rescale):
        name = of_tensor[tensor.data_ptr()]
        return tensor * mask(tensor.shape, density, name) / density
    merge_utils.random_pruning = pruned
    expect = {}
    for i, (kind, weights, more) in enumerate(CASES):
        names = list(weights)
        for path, layer in layers.items():
            for place, name in enumerate(names):
                if name in layer.lora_A:
                    of_tensor[layer.lora_A[name].weight.data_ptr()] = f"{place} A {path}"
                    of_tensor[layer.lora_B[name].weight.data_ptr()] = f"{place} B {path}"

            def delta(adapter, layer=layer, path=path):
                w = type(layer).get_delta_weight(layer, adapter)
                of_tensor[w.data_ptr()] = f"{names.index(adapter)} W {path}"
                return w
            layer.get_delta_weight = delta
        model.add_weighted_adapter(names, list(weights.values()), f"new{i}", combination_type=kind, **more)
        for path, layer in layers.items():
            if f"new{i}" not in layer.lora_A:
                continue
            a, b = layer.lora_A[f"new{i}"].weight.data, layer.lora_B[f"new{i}"].weight.data
            assert layer.scaling[f"new{i}"] == 1
            if kind.endswith("svd"):
                expect[f"{i}.{path}.W"] = (b @ a).contiguous()
            else:
                expect[f"{i}.{path}.A"], expect[f"{i}.{path}.B"] = a.clone(), b.clone()
    save_file(expect, f"{out}/expect.safetensors")
    for name in "abc":
        model.save_pretrained(out, selected_adapters=[name])
    os.remove(f"{out}/README.md")


main(sys.argv[1])
