#!/bin/bash
# run.sh BUILD: speed. The kernels as a share of the register peak measured in the same run; then, where PEFT_VENV (a virtual
# environment with torch, transformers and peft) and PEFT_TEST_MODEL (a GGUF file) are given, training on real question
# answering rows beside transformers + peft: the two alternate ROUNDS times (2), medians and their ratio are printed with losses and
# gradient norms, so that nobody is fast by skipping work. Ours is the whole process from start to adapter; the peer's time is its
# training loop alone. Variables: ROWS (256), THREADS (2).
set -euo pipefail
build=$1 rounds=${ROUNDS:-2} rows=${ROWS:-256} threads=${THREADS:-2}
cd "$(dirname "$0")/../.."
make -s "$build/tests/bench/kernels" B="$build"
"$build/tests/bench/kernels" "$threads" 3
data=${PEFT_DATA:-../shared/data}
[ -n "${PEFT_VENV:-}" ] && [ -n "${PEFT_TEST_MODEL:-}" ] && [ -r "$data/qa/trec/qc.zip" ] || {
    echo "peer: skipped (PEFT_VENV, PEFT_TEST_MODEL or ../shared/data is missing)"
    exit 0
}
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
py=$PEFT_VENV/bin/python
"$py" - "$data/qa/trec/qc.zip" "$rows" >"$t/rows.csv" <<'P'
import csv, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
names = dict(ABBR="abbreviation", DESC="description", ENTY="entity", HUM="human", LOC="location", NUM="number")
w = csv.writer(sys.stdout)
w.writerow(["question", "answer"])
for line in z.read([n for n in z.namelist() if n.endswith("train.txt")][0]).decode("latin-1").splitlines()[:int(sys.argv[2])]:
    kind, q = line.split(" ", 1)
    w.writerow([q.strip(), names[kind.split(":")[0]]])
P
bin=$build/bin
"$bin/peft-prep" -q "$t/rows.csv" | "$bin/peft-tok" -q -m "$PEFT_TEST_MODEL" -o "$t/rows.mpz"
for i in $(seq "$rounds"); do
    t0=$(date +%s%N)
    "$bin/peft-train" -q -m "$PEFT_TEST_MODEL" -o "$t/run" -f --precision f32 --threads "$threads" --batch-size 4 --accumulate 8 --epochs 1 \
        --shuffle no --scheduler constant --logging-steps 1 --save-steps 1000000 "$t/rows.mpz" >/dev/null
    echo "$((($(date +%s%N) - t0) / 1000000))" >>"$t/ours"
    "$py" tests/bench/peer_train.py "$PEFT_TEST_MODEL" "$t/rows.csv" "$threads" 2>/dev/null | tail -n 1 >>"$t/peer"
    echo "round $i done" >&2
done
"$bin/peft-log" cat "$t/run/metrics.mpz" >"$t/metrics"
"$py" - "$t" "$rows" <<'P'
import json, statistics, sys
t, rows = sys.argv[1], int(sys.argv[2])
ours = [rows / (float(x) / 1000) for x in open(t + "/ours")]
peer = [json.loads(x) for x in open(t + "/peer")]
train = [m for m in map(json.loads, open(t + "/metrics")) if m.get("event") == "train"]
flat = lambda m: dict(m, **(m.get("metrics") or {}))
a, z = flat(train[0]), flat(train[-1])
p = peer[-1]
print(f"real QA rows (TREC, {rows} rows, {p['tokens']} tokens, LoRA r8 q,v, f32, batch 4 x 8), {len(ours)} rounds, medians:")
print(f"  ours                    {statistics.median(ours):8.2f} rows/s (whole process)   loss {a['loss']:.4f} -> {z['loss']:.4f}  norm {z['grad_norm']:.3f}")
pm = statistics.median(x["rows_s"] for x in peer)
print(f"  transformers + peft     {pm:8.2f} rows/s (loop alone)      loss {p['first_loss']:.4f} -> {p['last_loss']:.4f}  norm {p['last_norm']:.3f}  torch {p['torch']}")
print(f"  ratio                   {statistics.median(ours) / pm:8.2f}")
P
