# rules.mk: what every recipe shares. Include it first; then a recipe is a list of file targets, one command each.
#
#   - Values are text. What the command line, the environment or a configuration says is never expanded by make, and no rule and
#     no command holds it: it is exported, and commands say "$$CSV". Only OUT stands in names of targets, so it must be plain.
#   - A stage is a file that its tool writes with -o: whole or absent, also after a kill or a full disk.
#   - Options of a stage, and the state of an input, live in a stamp file that changes only when they do: $(call options,...), input.
#   - $(begin) COMMAND $(end) notes the milliseconds that a stage took in OUT/time/. Its functions are those of lib.sh.
#   - An interrupted training leaves checkpoints; the next make resumes them if nothing that they depend on is newer.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := report
export LC_ALL := C.UTF-8

# Variables of all recipes that hold text; a recipe adds its own to TEXT before it includes this, and after that sets its defaults
# and exports them (export would define what is not, and leave ?= nothing to do).
TEXT += CSV OUT MODEL CONFIG BIN
$(foreach v,$(TEXT),$(if $(filter undefined,$(origin $v)),,$(eval override $v := $$(value $v))))
CONFIG ?=

# OUT begins every target: letters, digits and ._/+@- only, and no dash first.
ifneq ($(words x$(OUT)x),1)
$(error OUT='$(OUT)': white space in the name; letters, digits and ._/+@- can be)
endif
rest := $(OUT)
$(foreach c,a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z \
    0 1 2 3 4 5 6 7 8 9 . _ / + @ -,$(eval rest := $$(subst $c,,$$(rest))))
ifneq ($(rest)$(filter -%,$(OUT)),)
$(error OUT='$(OUT)': letters, digits and ._/+@- can be in the name, and no dash first)
endif
ifeq ($(OUT),)
$(error OUT is empty; it names the directory where everything goes)
endif

# Where the recipes lie, and the tools: those of this tree if it has been built, those installed with the recipes, or those of PATH.
export RECIPES := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
BIN ?= $(firstword $(patsubst %/peft-prep,%/,$(wildcard $(addprefix $(RECIPES)/../,build/release-cuda/bin/peft-prep \
    build/release/bin/peft-prep ../../bin/peft-prep))))

# $(call options,NAME,TOOL,VARIABLE): the rule of OUT/options/NAME, the options as the tool resolves them (so a default that
# a new version changes counts as well, and a mistake is told before anything runs).
define options
$(OUT)/options/$(1): FORCE
	$$(sh) remember $$@ tool $(2) "$$$$$(3)" --print-config
endef
.PHONY: FORCE
FORCE:
$(OUT)/inputs/csv: FORCE
	$(sh) input $@ CSV
$(OUT)/inputs/model: FORCE
	$(sh) fetch_model; input $@ MODEL

sh = @. "$$RECIPES"/lib.sh;
begin = $(sh) mkdir -p $(OUT)/{time,data,tokens,scores}; start=$$(date +%s%N);
end = ; echo $$((($$(date +%s%N) - start) / 1000000)) >$(OUT)/time/$(notdir $(basename $@))
