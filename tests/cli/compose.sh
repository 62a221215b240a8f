#!/bin/bash
# tier: fast
# Several adapters on one base: sums of effects are the sums of merged weights, each row of a routed batch gets what it gets alone, an
# adapter is trained on top of a frozen one, and what cannot be combined is refused by name.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny compose
m=$t/s.gguf
cd "$t" || exit 70
for r in 1 2; do peft-train -q -m "$m" --seed $r --lora-r $r --target-modules all-linear --lr 0.01 --max-steps 3 -o "r$r" tr.mpz >metrics.mpz; done
peft-train -q -m "$m" --method ia3 --ia3-feedforward down_proj --target-modules v_proj,down_proj --lr 0.05 --max-steps 2 -o r3 tr.mpz >metrics.mpz
loss() { peft-eval -q --metrics ppl --json "$@" te.mpz | jq -r .loss; }
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(a > 0 && d < t && d > -t) }'; }

# ---- sums ----
for f in 1 0.5; do peft-merge -q -m "$m" -a r1 --scale $f --dtype f32 -o "m$f" >/dev/null && peft-merge -q -f -m "m$f" -a r2 --scale $f --dtype f32 -o "n$f" >/dev/null; done
is stack_is_both near "$(loss -m "$m" -a 'stack(r1,r2)')" "$(loss -m n1)" 1e-5
is order_changes_nothing near "$(loss -m "$m" -a 'parallel(r2,r1)')" "$(loss -m n1)" 1e-5
is average_is_half_of_each near "$(loss -m "$m" -a 'average(r1,r2)')" "$(loss -m n0.5)" 1e-5
is weights_are_divided_by_their_sum [ "$(loss -m "$m" -a 'average(r1:3,r2:1)')" = "$(loss -m "$m" -a 'stack(r1:0.75,r2:0.25)')" ]
is nested [ "$(loss -m "$m" -a 'stack(average(r1,r2):2)')" = "$(loss -m "$m" -a ' parallel( r1 , r2 ) ')" ]
is other_places [ "$(loss -m "$m" -a 'stack(r3)')" = "$(loss -m "$m" -a r3)" ]

peft-merge -q -m "$m" -a 'stack(r1,average(r2,r3))' --verify te.mpz -o new >out 2>err
is factors_of_gains_are_refused_in_merging [ ! -e new -a "$(grep -c E-ADAPTER err)" = 1 ]
run peft-merge -m "$m" -a 'average(r1:3,r2:1)' --dtype f32 --verify te.mpz -o both
is merged [ "$rc" = 0 ]
is merged_answers_alike near "$(loss -m both)" "$(loss -m "$m" -a 'average(r1:3,r2:1)')" 1e-5
is card_names_both [ "$(grep -c -E 'SHA-256 of its tensors .[0-9a-f]{64}., its effect times 0.[72]5' both/README.md)" = 2 ]
refused merged_route 64 E-USAGE 'the same for all rows' peft-merge -m "$m" -a 'route(a=r1,*=r2)' -o new
refused two_alone 64 E-USAGE 'takes one adapter' peft-merge -m "$m" -a 'stack(r1,r2)' --adapter-only -o new

# ---- routes ----
{
    echo 'who,question,answer'
    for i in $(seq 1 12); do
        case $((i % 3)) in 0) who=a ;; 1) who=b ;; *) who= ;; esac
        echo "$who,what does Lily see on day $i,ball number $((i * 5 % 13))"
    done
} >mix.csv
for who in a b ''; do { head -n 1 mix.csv; grep "^$who," mix.csv; } >"only$who.csv"; done
peft-prep -q --adapter-by who -o mix.mpz mix.csv
texts() { peft-log cat "$1" | jq -c '[.prompt, .text]' | sort; }
run peft-eval -m "$m" -a 'route(a=r1,b=r2,*=none)' --metrics em,ppl --json --max-new-tokens 6 --batch-size 5 -o mix.out mix.mpz
is routes_are_told grep -q 'rows by route: a 4, b 4, \* 4' err
routed=$(jq .loss out)
for b in a:r1 b:r2; do peft-eval -q -m "$m" -a "${b#*:}" --metrics em,ppl --json --max-new-tokens 6 -o "${b%:*}.out" <(peft-prep -q "only${b%:*}.csv") >"${b%:*}.json"; done
peft-eval -q -m "$m" --metrics em,ppl --json --max-new-tokens 6 -o base.out <(peft-prep -q only.csv) >base.json
for p in a b base; do texts $p.out; done | sort >lone
is each_row_as_alone diff <(texts mix.out) lone
is rows_stay_in_order [ "$(peft-log cat mix.out | jq -r .row | tr '\n' ' ')" = "1 2 3 4 5 6 7 8 9 10 11 12 " ]
is likelihood_as_alone near "$routed" "$(jq -s '(map(.loss * .label_tokens) | add) / (map(.label_tokens) | add)' a.json b.json base.json)" 1e-9
# Logits are asked for in the order of the rows, whatever their routes.
peft-eval -q -m "$m" -a 'route(a=r1,b=r2,*=none)' --metrics none --logits mix.logits mix.mpz
peft-eval -q -m "$m" -a r2 --metrics none --logits b.logits <(peft-prep -q onlyb.csv)
is logits_as_alone python3 -c '
import sys
a, b = (open(f, "rb").read() for f in sys.argv[1:])
V, tail = 512 * 4, lambda x, rows: x[len(x) - 512 * 4 * rows:]
a, b = tail(a, 12), tail(b, 4)
sys.exit(any(a[i * V:(i + 1) * V] != b[i // 3 * V:(i // 3 + 1) * V] for i in range(0, 12, 3)))' mix.logits b.logits
refused no_route 65 E-MISMATCH 'row 2 names no adapter.* only a, b' peft-eval -m "$m" -a 'route(a=r1,b=r2)' -o new mix.mpz
refused unnamed_rows_only 76 E-VERSION 'names adapter .b., and there is one adapter' peft-eval -m "$m" -a r1 -o new mix.mpz
refused route_of_gains 65 E-ADAPTER 'method ia3 cannot hold for some rows' peft-eval -m "$m" -a 'route(a=r3,*=none)' -o new mix.mpz
refused noop_route 65 E-ADAPTER-NOOP 'route b: its adapter changes no logit' peft-eval -m "$m" -a 'route(a=r1,b=r2:0,*=none)' -o new mix.mpz
printf 'who,question,answer\n-x,a,b\n' >bad.csv
refused name_of_no_adapter 65 E-JSON 'bad.csv:2: who is .-x., expected the name' peft-prep --adapter-by who -o new bad.csv

# ---- training on a frozen one ----
run peft-train -q -m "$m" -a 'stack(r1,task)' --train-adapter task --lora-r 3 --lr 0.01 --max-steps 3 -e te.mpz --eval-steps 3 --eval-metrics none -o top tr.mpz
is trains [ "$rc" = 0 ]
is evaluation_is_the_same [ "$(peft-log cat top/metrics.mpz | jq -r 'select(.event == "eval").metrics.eval_loss')" = "$(loss -m "$m" -a 'stack(r1,top)')" ]
is frozen_one_matters [ "$(loss -m "$m" -a top)" != "$(loss -m "$m" -a 'stack(r1,top)')" ]
is manifest_names_both [ "$(jq -c '[.adapters[] | [.name, .trained]]' top/manifest.json)" = '[["r1",false],["task",true]]' ]
run peft-train -q -m "$m" -a 'stack(r1,r2)' --train-adapter r2 --lora-r 3 --lr 0 --max-steps 1 -o same tr.mpz
is begins_as_the_directory [ "$(loss -m "$m" -a 'stack(r1,same)')" = "$(loss -m "$m" -a 'stack(r1,r2)')" ]
for s in 1 2; do peft-train -q -m "$m" -a "stack(r$s,task)" --train-adapter task --lora-r 3 --lr 0.01 --max-steps 3 --save-steps 1 --resume -o again tr.mpz >metrics.mpz 2>err; rc=$?; done
is another_frozen_one_is_another_run [ "$rc" = 65 -a "$(grep -c E-MISMATCH err)" = 1 ]

# ---- what is wrong ----
wrong() { refused "$1" 64 E-USAGE "$2" peft-eval -m "$m" -a "$3" -o new te.mpz; }
wrong unknown_word "'fuse2\(r2\)' is no composition" 'stack(r1,fuse2(r2))'
wrong parenthesis 'no partner' 'stack((r1,r2)'
wrong twice "'r1' stands there twice" 'stack(r1,r1)'
wrong some_factors 'factors for 1 of its 2' 'average(r1:1,r2)'
wrong factors_of_zero 'add up to 0' 'average(r1:1,r2:-1)'
wrong empty 'a name is empty' 'stack(r1,)'
wrong route_inside 'stands outside' 'stack(route(a=r1))'
wrong route_without_name 'names no route' 'route(r1)'
wrong nothing 'no route has an adapter' 'route(a=none)'
refused same_site 65 E-ADAPTER 'cannot be on one site, model.layers.0.self_attn.v_proj' peft-eval -m "$m" -a 'stack(r1,r3)' -o new te.mpz
refused factor_of_gains 65 E-ADAPTER 'a factor of 0.5 means nothing' peft-eval -m "$m" -a 'stack(r3:0.5)' -o new te.mpz
refused which_is_trained 64 E-USAGE 'which of them' peft-train -m "$m" -a 'stack(r1,x)' -o new tr.mpz
refused no_such_part 64 E-USAGE "'z' is none of" peft-train -m "$m" -a 'stack(r1,x)' --train-adapter z -o new tr.mpz
refused prompt_has_no_route 64 E-USAGE 'no row that could choose' peft-eval -m "$m" -a 'route(a=r1)' --prompt x
