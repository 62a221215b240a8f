#!/bin/bash
# peer.sh BUILD: the same work by us and by transformers + peft, in turn in one run (tests/bench/peer.py); table, BUILD/bench-peer.json,
# BUILD/bench-peer.svg. Fails if losses or gradient norms differ, never because of a speed.
# Needs PEFT_VENV, a virtual environment with torch, transformers, peft, tokenizers, gguf, pandas (and sacrebleu, accelerate for the
# example), and the model: PEFT_TEST_MODEL, or the one in the cache. BENCH_HF: the same model as a Hugging Face directory in f32, which then
# is what both load (and what the example needs).
# ROWS="step all bf16 qa infer generate tok prep example" picks; ROUNDS (3), THREADS (2), PEFT_DATA (../shared/data), PEFT_PEER
# (../shared/peer: the example's script), BENCH_BF16=1 (bf16 also where it is only emulated).
set -euo pipefail
build=$1
cd "$(dirname "$0")/../.."
model=${PEFT_TEST_MODEL:-${XDG_CACHE_HOME:-$HOME/.cache}/peft/models/SmolLM2-135M-Instruct.Q4_1.gguf}
[ -x "${PEFT_VENV:-}/bin/python" ] || { echo "bench-peer: PEFT_VENV names no virtual environment (tests/parity/README.md)" >&2; exit 77; }
[ -e "${BENCH_HF:-$model}" ] || { echo "bench-peer: no model: $model" >&2; exit 77; }
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore
rc=0
"$PEFT_VENV/bin/python" tests/bench/peer.py "$build" "${BENCH_HF:-$model}" "$t" || rc=$?
"$build/tests/bench/report" --svg "$build/bench-peer.svg" "peft beside transformers + peft" "$t/figures" >/dev/null
cp "$t/peer.json" "$build/bench-peer.json"
echo "figures: $build/bench-peer.json, picture: $build/bench-peer.svg"
exit $rc
