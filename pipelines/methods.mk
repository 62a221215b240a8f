# methods.mk: every method on one task: what each scores on held-out rows, and what it costs.
# Every line that begins with "#:" is the text of: make -f pipelines/methods.mk help
#: make -f pipelines/methods.mk [VARIABLE=VALUE]... [TARGET]
#:
#: Splits CSV once, trains one adapter for each line of METHODS on the same rows, scores each on the rows held out, and prints a table:
#: exact match, perplexity, trained parameters, bytes of the adapter, time of training against the first. OUT/methods.tsv has it for
#: programs, OUT/methods.svg as a picture.
#: Run it again: only what depends on a change is done again. After an interrupt it goes on where it stopped.
#:
#: Targets:   report (default)  split  tokens  train  scores  clean  help
#: Variables: CSV      questions and answers            the example, data/facts.csv beside this file
#:            OUT      where everything goes            runs/methods
#:            MODEL    GGUF file or Hugging Face directory; the default is fetched (98 MB)
#:            METHODS  a file of lines "name options of peft-train"    methods.txt beside this file
#:            PREP TOK TRAIN EVAL   options of peft-prep, peft-tok, peft-train (all methods), peft-eval; quotes group
#:            BIN      directory of the tools, with its slash
#: Values are text: nothing in them is expanded or run. Names in METHODS take letters, digits, ._-
OUT ?= runs/methods
TEXT := PREP TOK TRAIN EVAL METHODS
include $(dir $(lastword $(MAKEFILE_LIST)))rules.mk

MODEL ?= runs/model.gguf
CSV ?= $(RECIPES)/data/facts.csv
METHODS ?= $(RECIPES)/methods.txt
PREP ?= --test-size 0.17
TOK ?= --boundary separate
TRAIN ?= --epochs 5 --batch-size 4 --scheduler linear --warmup-ratio 0.1
EVAL ?= --metrics em,ppl --max-new-tokens 16
export $(TEXT)
# $(shell) does not see what is exported: the two names reach it in quotes.
quoted = '$(subst ','\'',$(1))'
names := $(shell METHODS=$(call quoted,$(METHODS)) CONFIG= CSV= MODEL=; . $(call quoted,$(RECIPES))/lib.sh; method_names)
ifneq ($(.SHELLSTATUS),0)
$(error no methods)
endif
test := $(OUT)/tokens/test.mpz

.SECONDARY: # what patterns made is kept
.PHONY: report split tokens train scores clean help
split: $(OUT)/data/train.mpz $(OUT)/data/test.mpz
tokens: $(OUT)/tokens/train.mpz $(test)
train: $(names:%=$(OUT)/%.done)
scores: $(OUT)/scores/base.json $(names:%=$(OUT)/scores/%.json)
help:
	@sed -n 's/^#: \{0,1\}//p' "$$RECIPES"/methods.mk

$(eval $(call options,prep,peft-prep,PREP))
$(eval $(call options,tok,peft-tok,TOK))
$(eval $(call options,eval,peft-eval,EVAL))
# The options of all methods are read before anything runs.
$(OUT)/options/train-%: FORCE
	$(sh) remember $@ tool peft-train "$$TRAIN $$(method_options $*)" --print-config
checked := $(addprefix $(OUT)/options/,prep tok eval $(names:%=train-%)) $(OUT)/inputs/model

$(OUT)/data/%.mpz: $(OUT)/inputs/csv $(OUT)/options/prep | $(checked)
	$(begin) tool peft-prep "$$PREP" --split $* -f -o $@ "$$CSV" $(end)
$(OUT)/tokens/%.mpz: $(OUT)/data/%.mpz $(OUT)/options/tok $(OUT)/inputs/model
	$(begin) tool peft-tok "$$TOK" -m "$$MODEL" -f -o $@ $< $(end)

# The stamp is no part of the run directory, whose files are peft-train's.
$(OUT)/%.done: $(OUT)/tokens/train.mpz $(OUT)/options/train-% $(OUT)/inputs/model
	$(begin) rm -f $@; how=$$(resume $(OUT)/run-$* $^); \
	tool peft-train "$$TRAIN $$(method_options $*)" -m "$$MODEL" -o $(OUT)/run-$* $$how $< >/dev/null; touch $@ $(end)
score = tool peft-eval "$$EVAL" -m "$$MODEL" --json
$(OUT)/scores/base.json: $(test) $(OUT)/options/eval $(OUT)/inputs/model
	$(begin) $(score) $(test) >$@.new; mv $@.new $@ $(end)
$(OUT)/scores/%.json: $(OUT)/%.done $(test) $(OUT)/options/eval
	$(begin) $(score) -a $(OUT)/run-$* $(test) >$@.new; mv $@.new $@ $(end)

$(OUT)/methods.tsv: $(OUT)/scores/base.json $(names:%=$(OUT)/scores/%.json)
	$(sh) method_table $(OUT) $(names) >$@.new; mv $@.new $@
$(OUT)/methods.svg: $(OUT)/methods.tsv
	$(sh) awk -f "$$RECIPES"/methods.awk $< >$@.new; mv $@.new $@
report: $(OUT)/methods.tsv $(OUT)/methods.svg
	@echo; awk -F'\t' '{ printf "%-14s %8s %9s %12s %10s %9s\n", $$1, $$2, $$3, $$4, $$5, $$6 }' $<
	@printf '\n%s\n' '$(OUT)/methods.svg is a picture of it'
clean:
	$(sh) [ -d $(OUT) ] || exit 0; for n in $(names); do clean_run $(OUT)/run-$$n; done; cd $(OUT); \
	rm -f {data,tokens}/{train,test}.mpz methods.{tsv,svg}{,.new} {options/{prep,tok,eval},inputs/{csv,model}}{,.new} \
	    scores/base.json{,.new} time/{train,test,base}; \
	for n in $(names); do rm -f $$n.done {scores/$$n.json,options/train-$$n}{,.new} time/$$n; done; \
	clean_dir data tokens scores options inputs time; cd - >/dev/null; clean_dir $(OUT)
