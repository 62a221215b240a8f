#!/usr/bin/env python3
"""Record blocks of 64 values as bitsandbytes quantises them to NF4 on the CPU: vectors/nf4.bin, one record a block:
64 f32 (the values), f32 (absmax), 32 bytes (its codes, value 2k in the high half of byte k), 64 f32 (dequantised).
usage: record_nf4.py > vectors/nf4.bin        (recorded with bitsandbytes 0.50.2)"""
import sys

import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit

rng = np.random.default_rng(4)
table = get_4bit_type("nf4", device="cpu").numpy()
middle = (table[:-1] + table[1:]) / 2
blocks = [rng.standard_normal(64) * s for s in (1, 0.02, 0.02, 0.1, 1e-4, 1e-20, 3e-39, 1e-44, 1e4, 3e37)]
blocks += [rng.uniform(-1, 1, 64), rng.standard_cauchy(64), np.zeros(64), -np.zeros(64), np.full(64, -0.5), np.eye(64)[17]]
for scale in (1, 0.3, 0.0737, 11):  # on the midpoints between two codes, and a hair beside them
    edge = np.concatenate([middle, np.nextafter(middle, np.float32(9)), np.nextafter(middle, np.float32(-9)), table, [-1, 0, 1]])
    blocks.append(edge.astype(np.float32) * np.float32(scale))
for b in blocks:
    x = torch.tensor(np.asarray(b, np.float32)).reshape(1, 64)
    code, state = quantize_4bit(x, blocksize=64, quant_type="nf4")
    y = dequantize_4bit(code, state)
    for part in (x, state.absmax, code, y):
        sys.stdout.buffer.write(part.contiguous().numpy().tobytes())
