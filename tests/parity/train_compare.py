"""Hold a run to what was recorded: train_compare.py CASE_DIR ADAPTER.safetensors <METRICS.jsonl. Python's own library alone."""
import array, json, os, struct, sys


def tensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    return {k: array.array("f", data[slice(*v["data_offsets"])]) for k, v in head.items() if k != "__metadata__"}


bad = 0


def near(what, got, want, tolerance):
    global bad
    off = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want))
    if len(got) != len(want) or not off <= tolerance:
        bad += 1
        print(f"{what}: {list(got)[:4]}, recorded {list(want)[:4]}, off by {off:.1e}", file=sys.stderr)


case, adapter = sys.argv[1:]
with open(os.path.join(case, "expect.json")) as f:
    expect = json.load(f)
said = list(map(json.loads, sys.stdin))
steps = [r["metrics"] for r in said if r["event"] == "train"]
evals = [r["metrics"]["eval_loss"] for r in said if "eval_loss" in r["metrics"]]
assert len(steps) == len(expect["steps"]), f"{len(steps)} steps, recorded {len(expect['steps'])}"
for i, (got, want) in enumerate(zip(steps, expect["steps"])):
    for key, value in want.items():
        if value or got[key]:
            near(f"step {i + 1}: {key}", [got[key]], [value], 1e-12 if key == "learning_rate" else 1e-4)
near("eval_loss", evals, expect["eval_loss"], 1e-4)
got, want = tensors(adapter), tensors(os.path.join(case, "final.safetensors"))
assert got.keys() == want.keys(), "other tensors"
for k in want:
    near(k, got[k], want[k], 1e-4)
sys.exit(bad > 0)
