#!/bin/bash
# tier: fast
# Examples of several parts through all tools, on a tiny model: what is trained on, what is scored, what is cut; rows that name an
# adapter are refused where nobody knows what to do with them. (peft-prep alone: tests/cli/prep/parts.sh; masks: tests/unit/row.)
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' # set there
. tests/cli/tiny.sh
tiny parts
m=$t/s.gguf new=$t/new
q='{"text":"Lily saw a","train":false}' a='{"text":" cat","train":true}' r='{"text":". Tom saw a","train":false}' c='{"text":" dog","train":true}'
for _ in 1 2 3 4; do echo "{\"parts\":[$q,$a,$r,$c]}"; done >"$t/turns.jsonl"
for _ in 1 2 3 4; do echo "{\"question\":\"Lily saw a\",\"answer\":\" cat\"}"; done >"$t/pairs.jsonl"
for _ in 1 2 3 4; do echo "{\"parts\":[$q,$a]}"; done >"$t/two.jsonl"
peft-prep -q -o "$t/turns" "$t/turns.jsonl" && peft-prep -q -o "$t/two" "$t/two.jsonl" &&
    peft-prep -q --prompt '{question}' --target '{answer}' -o "$t/pairs" "$t/pairs.jsonl"
tok() { peft-tok -q -f -m "$m" -o "$2" "$1" "${@:3}"; }
is tok tok "$t/turns" "$t/turns.mpz"
tok "$t/two" "$t/two.mpz" && tok "$t/pairs" "$t/pairs.mpz"
rows() { peft-log cat "$1"; }
rows "$t/two.mpz" >"$t/a" && rows "$t/pairs.mpz" >"$t/b"
is two_parts_are_a_pair cmp "$t/a" "$t/b"
rows "$t/turns.mpz" >"$t/a"
is texts grep -q '"prompt":"Lily saw a cat. Tom saw a","target":" dog"' "$t/a"
is mask python3 - "$t/a" "$t/b" <<'P'
import json, sys
turns, pair = (json.loads(open(f).readline()) for f in sys.argv[1:])
n, k = turns["n_prompt"], pair["n_prompt"]
m = turns["mask"]
assert turns["ids"][:len(pair["ids"]) - 1] == pair["ids"][:-1], "both begin with the same texts"
target = len(pair["ids"]) - 1 - k # tokens of " cat"
assert m[:k] == [0] * k and m[k:k + target] == [1] * target, "the first answer"
assert set(m[k + target:n]) == {0} and m[n:] == [1] * (len(m) - n) and len(m) > n > k + target, "the second"
P
# so long that of the first answer nothing is left
n=$(rows "$t/turns.mpz" | python3 -c 'import json, sys; m = json.loads(sys.stdin.readline())["mask"]; print(len(m) - m.index(0, m.index(1)) + 1)')
run peft-tok -m "$m" --max-len "$n" --truncate left -o "$t/cut.mpz" "$t/turns"
is cut_parts_counted grep -q 'dropped=0 reason=cut_parts:4$' "$t/err"
is cut_parts_warned grep -q '4 parts to be trained on were cut away' "$t/err"
is cut_parts_in_the_stream sh -c "peft-log trace --json '$t/cut.mpz' | grep -q '\"reasons\": *{\"cut_parts\": *4}'"
n=$(rows "$t/turns.mpz" | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["n_prompt"])')
run peft-tok -q -f -m "$m" --max-len "$n" --truncate right -o "$t/cut.mpz" "$t/turns"
is cut_target_is_the_one_before sh -c "peft-log cat '$t/cut.mpz' | grep -q '\"prompt\":\"Lily saw a\",\"target\":\" cat\"'"
for _ in 1 2 3; do echo "{\"parts\":[$q,$a,$r]}"; done | peft-prep -q -o "$t/open" && tok "$t/open" "$t/open.mpz"
rows "$t/open.mpz" | python3 -c 'import json, sys
for s in sys.stdin: print(json.loads(s)["ids"])' | peft-tok -q -m "$m" --decode --json >"$t/a"
is what_follows_the_target [ "$(sort -u "$t/a" | grep -c 'Lily saw a cat. Tom saw a<s>"$') $(wc -l <"$t/a")" = "1 3" ]
is what_follows_is_not_trained_on [ "$(rows "$t/open.mpz" | grep -c '"mask":.*1,0,.*0\],"n_prompt".*"target":" cat"')" = 3 ]
for n in 1 2; do peft-tok -q -f -m "$m" --threads $n -o "$t/threads.$n" "$t/turns"; done
is threads cmp "$t/threads.1" "$t/threads.2"

is train peft-train -q -m "$m" -o "$t/run" --precision f32 --lr 3e-2 --epochs 12 "$t/turns.mpz"
eval() { peft-eval -q -m "$m" -a "$t/run/adapter" --precision f32 --max-new-tokens 8 --json "$@"; }
eval "$t/turns.mpz" >"$t/e.tok"
is eval_answers [ "$(json '[j["rows"], j["em"]]' "$t/e.tok")" = "[4, 100.0]" ]
eval -f -o "$t/p.mpz" "$t/turns" >"$t/e.ex"
is eval_of_examples_is_of_tokens cmp "$t/e.tok" "$t/e.ex"
is eval_prompt sh -c "peft-log cat '$t/p.mpz' | grep -q '\"prompt\":\"Lily saw a cat. Tom saw a\",\"target\":\" dog\",\"text\":\" dog\"'"
is merge_verifies peft-merge -q -m "$m" -a "$t/run/adapter" -o "$t/merged" --verify "$t/turns"

# ---- adapters ----
sed '3s/^{/{"adapter":"french",/; 1s/^{/{"adapter":null,/' "$t/turns.jsonl" | peft-prep -q -o "$t/fr" && tok "$t/fr" "$t/fr.mpz"
is adapter_in_tokens [ "$(rows "$t/fr.mpz" | grep -c '"adapter":"french"') $(rows "$t/fr.mpz" | sed -n 3p | grep -c french)" = "1 1" ]
refused adapter_train 76 E-VERSION "row 3 names adapter 'french'" peft-train -m "$m" -o "$new" "$t/fr.mpz"
refused adapter_train_eval 76 E-VERSION "row 3 names adapter 'french'" peft-train -m "$m" -o "$new" -e "$t/fr.mpz" "$t/turns.mpz"
refused adapter_eval 76 E-VERSION "row 3 names adapter 'french'" peft-eval -m "$m" --json "$t/fr.mpz"
refused adapter_eval_examples 76 E-VERSION "row 3 names adapter 'french'" peft-eval -m "$m" --json "$t/fr"
