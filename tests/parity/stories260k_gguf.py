#!/usr/bin/env python3
"""Convert llama2.c's stories260K (.bin and tok512.bin) to GGUF, with nothing but the standard library.

usage: stories260k_gguf.py MODEL.bin TOK.bin OUT.gguf
llama2.c rotates neighbouring pairs, as GGUF's llama does, so q and k are taken as they are.
"""
import struct, sys

model, tok, out = sys.argv[1:4]
b = open(model, "rb").read()
dim, hidden, L, H, K, V, seq = struct.unpack_from("<7i", b)
pos, hd = 28, dim // H
tensors = []


def take(name_of, count, *shape):
    global pos
    n = 4
    for s in shape:
        n *= s
    for i in range(count):
        tensors.append((name_of(i), shape, b[pos:pos + n]))
        pos += n


take(lambda i: "token_embd.weight", 1, abs(V), dim)
take(lambda i: f"blk.{i}.attn_norm.weight", L, dim)
take(lambda i: f"blk.{i}.attn_q.weight", L, dim, dim)
take(lambda i: f"blk.{i}.attn_k.weight", L, K * hd, dim)
take(lambda i: f"blk.{i}.attn_v.weight", L, K * hd, dim)
take(lambda i: f"blk.{i}.attn_output.weight", L, dim, dim)
take(lambda i: f"blk.{i}.ffn_norm.weight", L, dim)
take(lambda i: f"blk.{i}.ffn_gate.weight", L, hidden, dim)
take(lambda i: f"blk.{i}.ffn_down.weight", L, dim, hidden)
take(lambda i: f"blk.{i}.ffn_up.weight", L, hidden, dim)
take(lambda i: "output_norm.weight", 1, dim)

t = open(tok, "rb").read()
at, tokens, scores, types = 4, [], [], []
for i in range(abs(V)):
    score, n = struct.unpack_from("<fi", t, at)
    piece = t[at + 8:at + 8 + n]
    at += 8 + n
    byte = len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">")
    kind = 2 if i == 0 else 3 if i in (1, 2) else 6 if byte else 1
    piece = {0: b"<unk>", 1: b"<s>", 2: b"</s>"}.get(i, piece)
    tokens.append(piece if kind != 1 else piece.replace(b" ", "\u2581".encode()))
    scores.append(score)
    types.append(kind)

s = lambda x: struct.pack("<Q", len(x)) + x
kv = []
u32 = lambda k, v: kv.append(s(k.encode()) + struct.pack("<II", 4, v))
f32 = lambda k, v: kv.append(s(k.encode()) + struct.pack("<If", 6, v))
txt = lambda k, v: kv.append(s(k.encode()) + struct.pack("<I", 8) + s(v.encode()))
arr = lambda k, ty, items: kv.append(s(k.encode()) + struct.pack("<IIQ", 9, ty, len(items)) + b"".join(items))
txt("general.architecture", "llama")
txt("general.name", "stories260K")
for k, v in dict(context_length=seq, embedding_length=dim, block_count=L, feed_forward_length=hidden).items():
    u32("llama." + k, v)
u32("llama.attention.head_count", H)
u32("llama.attention.head_count_kv", K)
u32("llama.rope.dimension_count", hd)
f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
f32("llama.rope.freq_base", 10000.0)
txt("tokenizer.ggml.model", "llama")
arr("tokenizer.ggml.tokens", 8, [s(x) for x in tokens])
arr("tokenizer.ggml.scores", 6, [struct.pack("<f", x) for x in scores])
arr("tokenizer.ggml.token_type", 5, [struct.pack("<i", x) for x in types])
u32("tokenizer.ggml.bos_token_id", 1)
u32("tokenizer.ggml.eos_token_id", 2)
u32("tokenizer.ggml.unknown_token_id", 0)

pad = lambda n: -n % 32
info, data, off = b"", b"", 0
for name, shape, raw in tensors:
    info += s(name.encode()) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape))
    info += struct.pack("<IQ", 0, off)
    data += raw + b"\0" * pad(len(raw))
    off += len(raw) + pad(len(raw))
head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv)) + b"".join(kv) + info
open(out, "wb").write(head + b"\0" * pad(len(head)) + data)
