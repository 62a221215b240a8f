"""Ours and the peer's work in turn: see peer.sh.  usage: peer.py BUILD MODEL WORK_DIR

Each row: ours, peer, ours, peer, ... ROUNDS times; medians, their ratio (above 1: ours is faster or smaller), and what shows that both
did the same work. Ours is a whole process from start to end where the row says "process"; the peer's time is always that of its loop alone,
without imports and loading, except in the example.
"""
import csv, importlib.metadata, json, os, platform, statistics, subprocess, sys, time, zipfile

build, model, tmp = sys.argv[1:4]
R, threads = int(os.environ.get("ROUNDS", 3)), int(os.environ.get("THREADS", 2))
data, peer_dir = os.environ.get("PEFT_DATA", "../shared/data"), os.environ.get("PEFT_PEER", "../shared/peer")
here, bin_, env = os.path.dirname(os.path.abspath(__file__)), build + "/bin/", dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
table, failed = [], []
med = statistics.median
T = str(threads)


def timed(cmd, **kw):
    """Seconds, peak bytes and stdout of a process. Its peak counts what this process had when it forked: so torch is not imported here."""
    s = time.perf_counter()
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, env=env, **kw)
    out = p.stdout.read()
    _, status, use = os.wait4(p.pid, 0)
    if status:
        raise RuntimeError(f"{cmd[0] if isinstance(cmd, list) else cmd}: status {status}")
    return time.perf_counter() - s, use.ru_maxrss * 1024, out.decode(errors="replace")


class Worker:
    def __init__(self, kind, opt):
        self.p = subprocess.Popen([sys.executable, here + "/peer_worker.py", kind, model, T, json.dumps(opt)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        self.answer()

    def answer(self):
        line = self.p.stdout.readline()
        while line and not line.startswith("{"):
            line = self.p.stdout.readline()
        return json.loads(line) if line else dict(error="the process ended")

    def round(self):
        try:
            self.p.stdin.write("\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            return dict(error="the process ended")
        return self.answer()

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def add(name, what, ours, peer, unit, target=None, lower=False, note=""):
    """A row of the table; lower: less is better."""
    ratio = peer / ours if lower else ours / peer
    table.append(dict(name=name, what=what, ours=ours, peer=peer, unit=unit, ratio=ratio, target=target, note=note))
    print(f"{name:22} ours {ours:9.4g}  peer {peer:9.4g} {unit:8} {ratio:6.2f}x" + (f" (to reach: {target}x)" if target else "") + f"  {note}", flush=True)


def skip(name, why):
    table.append(dict(name=name, skipped=why))
    print(f"{name:22} skipped: {why}", flush=True)


def same(name, what, a, b, tol):
    rel = abs(a - b) / max(abs(b), 1e-30)
    if not rel <= tol:
        failed.append(f"{name}: {what} {a:.7g} (ours), {b:.7g} (peer): relative difference {rel:.2g}, tolerated {tol:g}")
    return f"{what} {a:.6g} / {b:.6g}"


def step(name, dtype, targets, r, eager, compiled):
    opt = dict(T=256, dtype=dtype, targets=targets, r=r, steps=3)
    ours, variants = [], {"eager": (Worker("step", opt), [], eager), "compiled": (Worker("step", dict(opt, compile=True)), [], compiled)}
    for _ in range(R):
        out = timed([build + "/tests/bench/step", model, "256", dtype, targets, str(r), "0", "3", T, "--json"])[2]
        ours.append(json.loads(out.splitlines()[-1]))
        for w, got, _ in variants.values():
            if not got or "error" not in got[-1]:
                got.append(w.round())
    what = f"LoRA r {r} on {targets}, T=256, all labels, {dtype}, {threads} threads"
    for v, (w, got, target) in variants.items():
        w.close()
        if "error" in got[-1]:
            skip(f"{name}.{v}", got[-1]["error"])
            continue
        o, p = ours[0], got[0]
        loose = dtype == "bf16"
        note = same(name + "." + v, "loss", o["first_loss"], p["first_loss"], 1e-2 if loose else 1e-4) + ", " + same(
            name + "." + v, "norm", o["grad_norm"], p["grad_norm"], 5e-2 if loose else 1e-3)
        add(f"{name}.{v}", what, med(x["tok_s"] for x in ours), med(x["tok_s"] for x in got), "tok/s", target, note=note)
        if v == "eager":
            add(name + ".memory", what + ": peak memory", max(x["peak_bytes"] for x in ours) / 2**20, got[-1]["peak_bytes"] / 2**20, "MiB", lower=True)


def trec(which, n, path):
    names = dict(ABBR="abbreviation", DESC="description", ENTY="entity", HUM="human", LOC="location", NUM="number")
    z = zipfile.ZipFile(data + "/qa/trec/qc.zip")
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["question", "answer"])
        lines = z.read([x for x in z.namelist() if x.endswith(which + ".txt")][0]).decode("latin-1").splitlines()
        for line in lines[:n]:
            k, q = line.split(" ", 1)
            w.writerow([q.strip(), names[k.split(":")[0]]])
    return path


def prepared(path):
    mpz = path[:-3] + "mpz"
    subprocess.run(f"{bin_}peft-prep -q {path} | {bin_}peft-tok -q -m {model} -f -o {mpz}", shell=True, check=True, env=env)
    return mpz


def qa():
    n = int(os.environ.get("QA_ROWS", 192))
    path = trec("train", n, tmp + "/qa.csv")
    mpz, run, ours, got = prepared(path), tmp + "/run", [], []
    for _ in range(R):
        ours.append(timed([bin_ + "peft-train", "-q", "-m", model, "-o", run, "-f", "--precision", "f32", "--threads", T, "--batch-size", "4", "--accumulate", "8",
                           "--epochs", "1", "--shuffle", "no", "--scheduler", "constant", "--logging-steps", "1", "--save-steps", "1000000", mpz])[:2])
        out = timed([sys.executable, here + "/peer_train.py", model, path, T], stderr=subprocess.DEVNULL)
        got.append(json.loads(out[2].splitlines()[-1]) | dict(peak=out[1]))
    log = subprocess.run([bin_ + "peft-log", "cat", run + "/metrics.mpz"], capture_output=True, text=True).stdout
    first = [dict(x, **(x.get("metrics") or {})) for x in map(json.loads, log.splitlines()) if x.get("event") == "train"][0]
    what = f"{n} TREC rows, loss on the answers, r 8 on q,v, batch 4 x 8, f32; ours: process, peer: padded loop alone"
    add("qa", what, n / med(x[0] for x in ours), med(x["rows_s"] for x in got), "rows/s", 3.5, note=same("qa", "first loss", first["loss"], got[0]["first_loss"], 1e-4))
    add("qa.memory", what, max(x[1] for x in ours) / 2**20, max(x["peak"] for x in got) / 2**20, "MiB", lower=True)


def infer():
    ours, got, w = [], [], Worker("infer", {})
    for _ in range(R):
        lines = [json.loads(x) for x in timed([build + "/tests/bench/infer", model, "f32", "x", "2", T])[2].splitlines()]
        ours.append({x["name"][8:]: x["value"] for x in lines if "name" in x} | next(x["check"] for x in lines if "check" in x))
        got.append(w.round())
    w.close()
    note = same("infer", "largest logit", ours[0]["logit"], got[0]["logit"], 1e-3) + f" at {ours[0]['argmax']} / {got[0]['argmax']}"
    for k, what in (("prefill", "prefill of 512 tokens, logits of the last"), ("decode1", "decode, one sequence, 128 cached"), ("decode16", "decode, 16 sequences")):
        add(k, what + ", f32", med(x[k] for x in ours), med(x[k] for x in got), "tok/s", note=note if k == "prefill" else "")


def generate():
    n = int(os.environ.get("GEN_ROWS", 100))
    path = trec("test", n, tmp + "/gen.csv")
    mpz, out, ours, got, w = prepared(path), tmp + "/gen.out", [], [], Worker("generate", dict(rows=path))
    for _ in range(R):
        ours.append(timed([bin_ + "peft-eval", "-q", "-m", model, "--metrics", "em", "--max-new-tokens", "16", "--batch-size", "16", "--precision", "f32", "--threads", T,
                           "-f", "-o", out, mpz])[0])
        got.append(w.round())
    w.close()
    log = subprocess.run([bin_ + "peft-log", "cat", out], capture_output=True, text=True).stdout
    texts = [x["text"].strip() for x in map(json.loads, log.splitlines()) if "text" in x]
    equal = sum(a == b for a, b in zip(texts, got[0]["texts"]))
    if len(texts) != n or equal < 0.9 * n:
        failed.append(f"generate: {equal} of {n} texts are the same")
    add("generate", f"{n} TREC questions, greedy, at most 16 new tokens, batch 16, f32; ours: process, peer: loop alone", n / med(ours),
        med(x["questions_s"] for x in got), "1/s", 5, note=f"{equal} of {n} texts the same")


def text_csv():
    path = tmp + "/text.csv"
    if os.path.exists(path):
        return path
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["question", "answer"])
        for _ in range(4):
            w.writerows((r["question"], r["answer"]) for r in csv.DictReader(open(trec("train", None, tmp + "/t.csv"))))
            w.writerows((r["text"], r["category"]) for r in csv.DictReader(open(data + "/qa/banking77/train.csv")))
            for name in ("tinyshakespeare.txt", "tinystories_sample.txt"):
                for x in open(data + "/text/" + name, encoding="utf-8", errors="replace"):
                    if len(x.split()) > 3:
                        w.writerow((x.strip(), x.split()[0]))
    return path


def text(name):
    path, ours, got = text_csv(), [], []
    mb, mpz, target = os.path.getsize(path) * 1e-6, tmp + "/text.mpz", dict(tok=3, prep=2)[name]
    subprocess.run([bin_ + "peft-prep", "-q", "-f", "-o", mpz, path], check=True)
    mine = dict(tok=[bin_ + "peft-tok", "-q", "-m", model, "--threads", T, "-f", "-o", tmp + "/tok.out", mpz], prep=[bin_ + "peft-prep", "-q", "-f", "-o", tmp + "/prep.out", path])
    theirs = dict(tok=["tok", model, path], prep=["prep", path, tmp + "/prep.jsonl"])
    for _ in range(R):
        ours.append(timed(mine[name])[:2])
        out = timed([sys.executable, here + "/peer_text.py"] + theirs[name], stderr=subprocess.DEVNULL)
        got.append((json.loads(out[2].splitlines()[-1])["seconds"], out[1]))
    what = dict(tok="Hugging Face tokenizers, encode_batch", prep="pandas read_csv and to_json by lines")[name] + f", {mb:.1f} MB of CSV; ours: process, peer: the call alone"
    add(name, what, mb / med(x[0] for x in ours), mb / med(x[0] for x in got), "MB/s", target)
    add(name + ".memory", what, max(x[1] for x in ours) / 2**20, max(x[1] for x in got) / 2**20, "MiB", lower=True)


def example():
    script = peer_dir + "/hf_seed_example.py"
    if not os.path.exists(script) or not os.path.isdir(model):
        return skip("example", "PEFT_PEER has no hf_seed_example.py" if os.path.isdir(model) else "BENCH_HF names no Hugging Face directory")
    n, k = int(os.environ.get("EXAMPLE_ROWS", 512)), int(os.environ.get("EXAMPLE_EVAL", 100))
    train, test, out = trec("train", n, tmp + "/ex.csv"), trec("test", k, tmp + "/ex_test.csv"), tmp + "/ex"
    job = f"""set -euo pipefail
{bin_}peft-prep -q {train} | {bin_}peft-tok -q -m {model} | {bin_}peft-train -q -m {model} -f -o {out} --precision f32 --threads {T} --lr 2e-4 --warmup-ratio 0.1 \
 --weight-decay 0.01 --lora-dropout 0.05 --epochs 1 --batch-size 4 --accumulate 8 --save-steps 1000000 >/dev/null
{bin_}peft-prep -q {test} | {bin_}peft-tok -q -m {model} | {bin_}peft-eval -q -m {model} -a {out}/adapter --metrics em,bleu --max-new-tokens 16 --precision f32 --threads {T} --json
{bin_}peft-merge -q -m {model} -a {out}/adapter -f -o {out}/merged >/dev/null"""
    ours = timed(["bash", "-c", job])
    got = timed([sys.executable, script, model, train, test, "f32", str(n), str(k)], stderr=subprocess.DEVNULL)
    em = json.loads(ours[2]).get("metrics", json.loads(ours[2]))
    add("example", f"{n} TREC rows trained, {k} questions scored, merged and saved, f32; both whole processes, one round", ours[0], got[0], "s", 3.5, lower=True,
        note="ours: " + " ".join(f"{a} {b:.4g}" for a, b in em.items() if isinstance(b, (int, float)) and a in ("exact_match", "em", "bleu")) + "; peer: " + got[2].strip().splitlines()[-1][:60])


bf16 = "avx512_bf16" in open("/proc/cpuinfo").read() or os.environ.get("BENCH_BF16") == "1"
rows = dict(step=lambda: step("step", "f32", "qv", 8, 1.4, 1.2), all=lambda: step("all", "f32", "all", 16, None, None),
            bf16=lambda: step("bf16", "bf16", "qv", 8, 1.5, 1.25) if bf16 else skip("bf16", "this CPU has no bf16 instructions (BENCH_BF16=1 runs it all the same)"),
            qa=qa, infer=infer, generate=generate, tok=lambda: text("tok"), prep=lambda: text("prep"), example=example)
cpu = next((x.split(": ")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
about = dict(cpu=cpu, threads=threads, rounds=R, model=os.path.basename(model.rstrip("/")), **{x: importlib.metadata.version(x) for x in ("torch", "transformers", "peft", "tokenizers")})
print(", ".join(f"{k} {v}" for k, v in about.items()), flush=True)
for name in os.environ.get("ROWS", " ".join(rows)).split():
    if name in ("qa", "generate", "tok", "prep", "example") and not os.path.exists(data + "/qa/trec/qc.zip"):
        skip(name, "PEFT_DATA has no qa/trec/qc.zip")
        continue
    try:
        rows[name]()
    except Exception as e:
        failed.append(f"{name}: {type(e).__name__}: {e}")
for f in failed:
    print("FAIL " + f, flush=True)
json.dump(dict(run=about, rows=table, failed=failed), open(tmp + "/peer.json", "w"), indent=1)
with open(tmp + "/figures", "w") as f:
    for x in table:
        if "ratio" in x:
            g = dict(group="transformers + peft, f32 unless named", name=x["name"], value=x["ours"], unit=x["unit"], share=x["ratio"], peak=x["peer"], what=x["what"])
            f.write(json.dumps(g | (dict(target=x["target"]) if x["target"] else {})) + "\n")
sys.exit(bool(failed))
