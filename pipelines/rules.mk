# rules.mk: what every recipe shares. Include it first; then a recipe is a list of file targets, one command each.
#
#   - A stage is a file that its tool writes with -o: whole or absent, also after a kill or a full disk.
#   - Options of a stage live in a stamp file, $(call options,NAME,COMMAND), that changes only when they do.
#   - $(begin) COMMAND $(end) notes the milliseconds that a stage took in OUT/time/.
#   - An interrupted training leaves checkpoints; the next make resumes them if nothing that they depend on is newer.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := report
export LC_ALL := C.UTF-8

# The tools: those of this tree if it has been built, else those of PATH.
root := $(patsubst %/,%,$(dir $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))))
BIN ?= $(firstword $(patsubst %/peft-prep,%/,$(wildcard $(root)/build/release-cuda/bin/peft-prep $(root)/build/release/bin/peft-prep)))
prep := $(BIN)peft-prep
tok := $(BIN)peft-tok
train := $(BIN)peft-train
evaluate := $(BIN)peft-eval
merge := $(BIN)peft-merge
log := $(BIN)peft-log

# $(call options,NAME,TOOL OPTION...): the rule of OUT/options/NAME, the options as the tool resolves them (so a default that
# a new version changes counts as well, and a mistake is told before anything runs).
define options
$(OUT)/options/$(1): FORCE
	@mkdir -p $$(@D)
	@$(2) --print-config >$$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef
.PHONY: FORCE
FORCE:

begin = @mkdir -p $(OUT)/{time,data,tokens,scores}; start=$$(date +%s%N);
end = ; echo $$((($$(date +%s%N) - start) / 1000000)) >$(OUT)/time/$(notdir $(basename $@))

# $(call resume,RUN): --resume if RUN has a checkpoint that is newer than every prerequisite of the target, else -f.
resume = $$(newest=$$(ls -td $(1)/checkpoints/step-* 2>/dev/null | head -n 1 || true); how=--resume; \
	[ -n "$$newest" ] || how=-f; for p in $^; do [ -z "$$newest" ] || [ "$$newest" -nt "$$p" ] || how=-f; done; echo $$how)

# The default model, fetched into the user's cache once; see scripts/model.sh.
runs/model.gguf:
	@mkdir -p $(@D)
	@ln -sfn "$$(MODEL= $(root)/scripts/model.sh)" $@
