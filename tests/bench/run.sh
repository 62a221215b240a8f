#!/bin/bash
# run.sh BUILD [gate]: speed of this machine's build, without Python: a table, BUILD/bench.json, BUILD/bench.svg, and the
# regression gate (tests/bench/gate.tsv: shares of the machine's limits, never seconds). A figure below the gate is measured again, twice
# at most, before it counts. "gate": only a subset of half a minute and nothing but the gate.
# The steps and inference need a model: PEFT_TEST_MODEL, or the one in the cache; without one they are left out and that is said.
# Variables: THREADS (all cores), ROUNDS (5), BENCH_HF (a Hugging Face directory of the same model in f32 or bf16; none).
set -euo pipefail
build=$1 mode=${2:-full} threads=${THREADS:-$(nproc)} rounds=${ROUNDS:-5}
cd "$(dirname "$0")/../.."
dir=$build/tests/bench
model=${PEFT_TEST_MODEL:-${XDG_CACHE_HOME:-$HOME/.cache}/peft/models/SmolLM2-135M-Instruct.Q4_1.gguf}
[ -e "$model" ] || model=
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
out=$t/figures

part() { # part NAME: measure one part, or those of its figures that the further arguments name
    local name=$1
    shift
    case $name in
    kernels) "$dir/kernels" "$threads" "$rounds" "$@" ;;
    infer) "$dir/infer" "$model" f32 q4_1 "$rounds" "$threads" ;;
    infer_bf16) "$dir/infer" "$model" bf16 q4_1.bf16 "$rounds" "$threads" ;;
    infer_hf) "$dir/infer" "$BENCH_HF" f32 hf "$rounds" "$threads" ;;
    q4_1) "$dir/step" "$model" 256 f32 qv 8 0 "$rounds" "$threads" --figures q4_1 ;;
    q4_1_1) "$dir/step" "$model" 256 f32 qv 8 0 "$rounds" 1 --figures q4_1_1thread ;;
    q4_1_bf16) "$dir/step" "$model" 256 bf16 qv 8 0 "$rounds" "$threads" --figures q4_1_bf16 ;;
    all) "$dir/step" "$model" 256 f32 all 16 0 "$rounds" "$threads" --figures all_r16 ;;
    answers) "$dir/step" "$model" 256 f32 qv 8 32 "$rounds" "$threads" --figures answers ;;
    hf) "$dir/step" "$BENCH_HF" 256 f32 qv 8 0 "$rounds" "$threads" --figures hf ;;
    threads) "$dir/step" "$model" 256 f32 qv 8 0 "$rounds" "$threads" --scaling q4_1 ;;
    text) "$dir/text" "$build/bin" "$model" "$t" "${TEXT_MIB:-24}" 3 man/*.[157] ./*.md ;;
    esac
}
part_of() { # the part that measures a figure
    case $1 in
    step.*.threads) echo threads ;;
    step.q4_1_1thread*) echo q4_1_1 ;;
    step.all_r16*) echo all ;;
    step.*) echo "${1#step.}" ;;
    infer.hf.*) echo infer_hf ;;
    infer.q4_1.bf16.*) echo infer_bf16 ;;
    infer.*) echo infer ;;
    text.*) echo text ;;
    *) echo "kernels $1" ;;
    esac
}

device=$("$dir/kernels" "$threads" 1 -)
isa=${device#*(} isa=${isa%%)*}
bf16=$(sed -n 's/.* bf16=\([012]\).*/\1/p' <<<"$device")
if [ "$mode" = gate ]; then
    rounds=3
    part kernels '*.128' 'attn.*.1x256' 'attn.*.32x18' 'head_loss.q8_0.256' adamw 'norm.*' >"$out"
    parts='q4_1 threads'
else
    echo "kernels ..." >&2
    part kernels >"$out"
    parts='q4_1 q4_1_1 threads all answers infer text'
    [ "$bf16" != 0 ] && parts+=' q4_1_bf16 infer_bf16'
    [ -n "${BENCH_HF:-}" ] && parts+=' hf infer_hf'
fi
for p in $parts; do
    [ -n "$model" ] || { echo "steps, inference and text: left out, there is no model (PEFT_TEST_MODEL)" >&2; break; }
    [ "$mode" = gate ] || echo "$p ..." >&2
    part "$p" >>"$out"
done
gate=(--gate tests/bench/gate.tsv "$isa")
for try in 1 2; do
    failed=$("$dir/report" "${gate[@]}" --failed "$out") && break
    echo "below the gate, measured again ($try of 2): $(tr '\n' ' ' <<<"$failed")" >&2
    while read -r p name; do part "$p" ${name:+"$name"} >>"$out"; done < <(for f in $failed; do part_of "$f"; done | sort -u)
done
if [ "$mode" = gate ]; then
    "$dir/report" "${gate[@]}" "$out"
    exit
fi
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
compiler=$(sed -n 's/^CC *:*= *//p' config.mk 2>/dev/null | head -n 1)
compiler=$(${compiler:-cc} --version | head -n 1)
version=$("$build/bin/peft-train" --version | head -n 1 | awk '{ print $2 }')
name=${model##*/}
echo "$cpu, $isa, $threads threads; $compiler; peft $version; ${name:-no model}; medians of $rounds rounds"
rc=0
"$dir/report" "${gate[@]}" --meta cpu="$cpu" --meta isa="$isa" --meta threads="$threads" --meta compiler="$compiler" \
    --meta version="$version" --meta model="${name:-none}" --meta rounds="$rounds" --json "$build/bench.json" \
    --svg "$build/bench.svg" "peft $version on $cpu ($isa, $threads threads)" "$out" || rc=$?
echo
echo "figures: $build/bench.json, picture: $build/bench.svg"
exit $rc
