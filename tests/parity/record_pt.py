#!/usr/bin/env python3
"""Record small files of torch.save for tests/unit/pt_read.c: those of pt/read hold what is read, those of pt/refused
one reason each not to. Element i of a tensor is i / 4. usage: record_pt.py OUT        (recorded with torch 2.15)"""
import os
import sys
import zipfile

import torch
from torch.serialization import set_crc32_options

out = sys.argv[1]
for d in ("read", "refused"):
    os.makedirs(f"{out}/{d}", exist_ok=True)


def quarters(*shape, dtype=torch.float32):
    return (torch.arange(torch.Size(shape).numel(), dtype=torch.float64) / 4).reshape(shape).to(dtype)


def save(name, state, **kind):
    torch.save(state, f"{out}/{name}.pt", **kind)


class Runs:
    def __reduce__(self):
        return os.system, ("exit 1",)


class Attributes:
    pass


def small():
    return {"a": quarters(2)}


net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
with torch.no_grad():
    for p in net.parameters():
        p.copy_(quarters(*p.shape))
save("read/module", net.state_dict())
for protocol in (3, 4, 5):
    save(f"read/protocol{protocol}", net.state_dict(), pickle_protocol=protocol)
save("read/types", {"f32": quarters(2, 3), "f16": quarters(4, dtype=torch.float16),
                    "bf16": quarters(1, 3, 2, dtype=torch.bfloat16), "grün": quarters(1)})
save("read/shapes", {"scalar": quarters(), "empty": quarters(0, 3), "one": quarters(3, 4)[:, :1][1:2],
                     "tail": quarters(5)[5:]})
base = quarters(12)
save("read/views", {"head": base[:4], "tail": base[4:].reshape(2, 4), "whole": base, "tied": base})
save("read/parameter", {"p": torch.nn.Parameter(quarters(2, 2)),
                        "frozen": torch.nn.Parameter(quarters(3), requires_grad=False)})
save("read/nothing", {})

save("refused/transposed", {"w": quarters(2, 3).T})
save("refused/strided", {"w": quarters(6)[::2]})
save("refused/double", {"w": quarters(2, dtype=torch.float64)})
save("refused/long", {"steps": torch.tensor(3)})
save("refused/float8", {"w": quarters(2).to(torch.float8_e4m3fn)})
save("refused/nested", {"state_dict": small(), "epoch": 3})
save("refused/number", {"a": quarters(2), "epoch": 3})
save("refused/list", [quarters(2)])
save("refused/tensor", quarters(2))
save("refused/optimizer", torch.optim.SGD(net.parameters(), lr=0.1).state_dict())
save("refused/module", torch.nn.Identity())
save("refused/runs", {"a": quarters(2), "b": Runs()})
save("refused/instance", {"a": Attributes()})
save("refused/legacy", small(), _use_new_zipfile_serialization=False)
torch.jit.script(torch.nn.Identity()).save(f"{out}/refused/script.pt")
set_crc32_options(False)
save("refused/no_crc", small())
set_crc32_options(True)
save("refused/deflated", small())
with zipfile.ZipFile(f"{out}/refused/deflated.pt") as z:
    members = [(i, z.read(i)) for i in z.infolist()]
with zipfile.ZipFile(f"{out}/refused/deflated.pt", "w", zipfile.ZIP_DEFLATED) as z:
    for i, data in members:
        z.writestr(zipfile.ZipInfo(i.filename), data, zipfile.ZIP_DEFLATED)
