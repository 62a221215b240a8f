#!/bin/bash
# tier: fast
# Set-up on machines that are not as one would like: CUDA_HOME without a compiler, no git, a git that refuses; the quick start is quiet;
# and README's first example, as it stands there, trains on none of the rows that it scores.
set -u
cd "$(dirname "$0")/../.." || exit 70
t='' rc=0 # set there
. tests/cli/tiny.sh
tiny setup
root=$PWD
mkdir "$t/w" && cd "$t/w" || exit 70

cp "$root/configure" "$root/Makefile" .
run env CUDA_HOME="$t/none" CC="${CC:-cc}" ./configure
is cuda_home_without_nvcc [ "$rc" = 0 -a "$(grep -c "CPU only: there is no $t/none/bin/nvcc" "$t/out")" = 1 ]
is builds_for_the_cpu grep -qx 'CUDA := 0' config.mk
run env CUDA_HOME="$t/none" CC="${CC:-cc}" ./configure CUDA=1
is insisting_is_an_error [ "$rc" = 69 ]
run ./configure CUDA=0 PREFIX="/a b"
touch -d '1 hour ago' config.mk
timeout 20 make -n VARIANT=none config.mk >"$t/out" 2>&1
is a_newer_configure_gets_the_old_arguments grep -qF "PREFIX='/a b' CUDA='0'" "$t/out"
revision() { make -np VARIANT=none 2>/dev/null | sed -n 's/^REVISION := //p' | head -n 1; }
is no_git [ "$(revision)" = no-git ]
echo 'gitdir: /nowhere' >.git
is git_that_fails [ "$(revision)" = git-failed ]
rm .git
for tool in peft-prep peft-log; do is "revision_is_told.$tool" sh -c '"$0" --version | head -n 1 | grep -q "([^)]"' "$tool"; done

# ---- the quick start, with stand-ins for what takes long ----
mkdir -p q/scripts && cp "$root/scripts/quickstart.sh" q/scripts
printf '#!/bin/sh\nseq 50\n[ -z "$FAIL_DEPS" ] || { echo broken; exit 69; }\n' >q/scripts/deps.sh
printf '#!/bin/sh\necho "a model.gguf"\n' >q/scripts/model.sh
printf '#!/bin/sh\nseq 20\necho "  CUDA         no"\ntouch config.mk\n' >q/configure
mkdir q/pipelines && printf 'all:\n\t@echo "recipe $$MODEL"\n' >q/pipelines/qa.mk
printf 'all:\n\t@seq 150\n' >q/Makefile
chmod +x q/scripts/*.sh q/configure
run q/scripts/quickstart.sh
is quickstart_a_line_a_step [ "$rc" = 0 -a "$(wc -l <"$t/out")" -le 6 -a "$(grep -cE '^(packages|configuration|build) +[0-9]+ s$' "$t/out")" = 3 ]
is quickstart_hands_the_model_on grep -qx 'recipe a model.gguf' "$t/out"
run env V=1 q/scripts/quickstart.sh
is quickstart_all [ "$rc" = 0 -a "$(wc -l <"$t/out")" -ge 200 ]
run env FAIL_DEPS=1 q/scripts/quickstart.sh
is quickstart_fails_aloud [ "$rc" = 69 -a "$(grep -c broken "$t/err")" = 1 -a "$(grep -c 'packages failed' "$t/err")" = 1 ]

# ---- README's first example ----
mkdir r && cp "$t/s.gguf" r/model.gguf && cp "$t/qa.csv" r/qa.csv && cd r || exit 70
sed -n '/^```sh$/,/^```$/p' "$root/README.md" | sed '1d;/^```$/,$d' >example
is readme_has_an_example grep -q peft-train example
run bash -euo pipefail example
is readme_example_runs [ "$rc" = 0 -a -s merged/model.safetensors ]
prep_of() { sed -n "/$1/s/|.*//p" example | bash | peft-log cat | sed 's/"row":[0-9]*,//'; }
prep_of peft-train | sort >trained && prep_of peft-eval | sort >scored
is readme_scores_rows_that_were_not_trained [ -s trained -a -s scored -a -z "$(comm -12 trained scored)" ]
