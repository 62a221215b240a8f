# qa.mk: from a CSV of questions and answers to a merged model with scores before and after.
# Every line that begins with "#:" is the text of: make -f pipelines/qa.mk help
#: make -f pipelines/qa.mk [VARIABLE=VALUE]... [TARGET]
#:
#: Splits CSV, scores the base model on the held-out rows, trains LoRA (early stopping on exact match of a part of the training
#: rows kept aside), scores again, merges and verifies, lets the merged model answer, and prints a table.
#: Rows are held out at random; the example has each fact in eight phrasings, so a held-out row asks for a trained fact in a
#: phrasing that was not trained for it.
#: Run it again: only what depends on a change is done again. After an interrupt it goes on where it stopped.
#:
#: Targets:   report (default)  split  tokens  base  train  scores  merge  answers  show  clean  help
#: Variables: CSV      questions and answers            pipelines/data/facts.csv
#:            OUT      where everything goes            runs/qa
#:            MODEL    GGUF file or Hugging Face directory; the default is fetched (98 MB)
#:            CONFIG   a config.yaml instead of PREP, TOK and TRAIN; its dataset.path and model.name_or_path are used
#:            PREP TOK TRAIN EVAL MERGE   options of peft-prep, peft-tok, peft-train, peft-eval, peft-merge
#:            BIN      directory of the tools, with its slash
OUT ?= runs/qa
include $(dir $(lastword $(MAKEFILE_LIST)))rules.mk

ifdef CONFIG
# $(call from_config,SECTION,KEY): a value of the file, for make's own use; the tools read the file themselves
from_config = $(shell awk '/^[a-z]/ { s = $$1 } s == "$(1):" && $$1 == "$(2):" { sub(/^[^:]*: */, ""); sub(/ +\#.*/, ""); gsub(/["'"'"']/, ""); print; exit }' $(CONFIG))
MODEL ?= $(or $(call from_config,model,name_or_path),$(error no model.name_or_path in $(CONFIG), and no MODEL))
CSV ?= $(or $(call from_config,dataset,path),$(error no dataset.path in $(CONFIG), and no CSV))
PREP ?=
TOK ?=
TRAIN ?=
config := -c $(CONFIG)
else
MODEL ?= runs/model.gguf
CSV ?= $(root)/pipelines/data/facts.csv
PREP ?= --test-size 0.17
TOK ?= --boundary separate
TRAIN ?= --method lora --lora-r 8 --lora-alpha 16 --lora-dropout 0 --target-modules q_proj,v_proj \
	--lr 4e-3 --epochs 5 --batch-size 4 --scheduler linear --warmup-ratio 0.1 \
	--metric eval_exact_match --patience 2
config :=
endif
EVAL ?= --metrics em,f1,bleu,rouge,ppl --max-new-tokens 32
MERGE ?= --format hf --dtype f32
RUN := $(OUT)/run
TEST := $(OUT)/tokens/test.mpz

.PHONY: report split tokens base train scores merge answers show clean help
split: $(OUT)/data/train.mpz $(OUT)/data/dev.mpz $(OUT)/data/test.mpz
tokens: $(OUT)/tokens/train.mpz $(OUT)/tokens/dev.mpz $(TEST)
base: $(OUT)/scores/before.json
train: $(OUT)/run.done
scores: $(OUT)/scores/after.json
merge: $(OUT)/merged/config.json
answers: $(OUT)/answers.mpz
help:
	@sed -n 's/^#: \{0,1\}//p' $(root)/pipelines/qa.mk

$(eval $(call options,prep,$(prep) $(config) $(PREP)))
$(eval $(call options,tok,$(tok) $(config) $(TOK)))
$(eval $(call options,train,$(train) $(config) $(TRAIN)))
$(eval $(call options,eval,$(evaluate) $(config) $(EVAL)))
$(eval $(call options,merge,$(merge) $(config) $(MERGE)))

# ---- split: a row is held out or not by its number and the seed alone; a tenth of the training rows is kept aside, so that
# ---- early stopping never looks at the rows that the scores are about
$(OUT)/data/rest.mpz: $(CSV) $(OUT)/options/prep
	$(begin) $(prep) $(config) $(PREP) --split train -f -o $@ $< $(end)
$(OUT)/data/test.mpz: $(CSV) $(OUT)/options/prep
	$(begin) $(prep) $(config) $(PREP) --split test -f -o $@ $< $(end)
inner = $(log) cat $< | $(prep) --format jsonl --prompt '{prompt}' --target '{target}' --test-size 0.1 --split
$(OUT)/data/train.mpz: $(OUT)/data/rest.mpz
	$(begin) $(inner) train -f -o $@ $(end)
$(OUT)/data/dev.mpz: $(OUT)/data/rest.mpz
	$(begin) $(inner) test -f -o $@ $(end)

$(OUT)/tokens/%.mpz: $(OUT)/data/%.mpz $(OUT)/options/tok $(MODEL)
	$(begin) $(tok) $(config) -m $(MODEL) $(TOK) -f -o $@ $< $(end)

# ---- scores of the base model, training, scores with the adapter
score = $(evaluate) $(config) -m $(MODEL) $(EVAL) --json
$(OUT)/scores/before.json: $(TEST) $(OUT)/options/eval $(MODEL)
	$(begin) $(score) $(TEST) >$@.new; mv $@.new $@ $(end)
# The stamp is no part of the run directory, whose files are peft-train's.
$(OUT)/run.done: $(OUT)/tokens/train.mpz $(OUT)/tokens/dev.mpz $(OUT)/options/train $(MODEL)
	$(begin) rm -f $@; $(train) $(config) -m $(MODEL) $(TRAIN) -e $(OUT)/tokens/dev.mpz -o $(RUN) $(call resume,$(RUN)) $< >/dev/null; touch $@ $(end)
$(OUT)/scores/after.json: $(OUT)/run.done $(TEST) $(OUT)/options/eval
	$(begin) $(score) -a $(RUN)/adapter $(TEST) >$@.new; mv $@.new $@ $(end)

# ---- one model of base and adapter, compared with the two; and what it answers
$(OUT)/merged/config.json: $(OUT)/run.done $(TEST) $(OUT)/options/merge
	$(begin) $(merge) $(config) -m $(MODEL) -a $(RUN)/adapter $(MERGE) --verify $(TEST) -f -o $(@D) $(end)
$(OUT)/answers.mpz: $(OUT)/merged/config.json $(TEST) $(OUT)/options/eval
	$(begin) $(evaluate) $(config) -m $(<D) $(EVAL) -f -o $@ $(TEST) $(end)

# ---- what there is to know
score_of = $$(sed -n 's/.*"'$(1)'" *: *\([-0-9.e+]*\).*/\1/p' $(2) | tail -n 1)
seconds = $$(awk '{ printf "%.1f s", $$1 / 1000 }' $(OUT)/time/$(1) 2>/dev/null)
report: $(OUT)/scores/before.json $(OUT)/scores/after.json $(OUT)/merged/config.json $(OUT)/answers.mpz
	@printf '\n%-28s %10s %10s\n' 'held-out rows' before after
	@for k in em em_lower em_squad f1 bleu rouge_l ppl; do \
	    b=$(call score_of,$$k,$(word 1,$^)) a=$(call score_of,$$k,$(word 2,$^)); \
	    [ -z "$$a" ] || printf '%-28s %10.2f %10.2f\n' $$k "$$b" "$$a"; done
	@printf '%-28s %10s %10s\n' 'scoring took' "$(call seconds,before)" "$(call seconds,after)"
	@printf '\ntraining %s, merge and verification %s, answers of the merged model %s\n' \
	    "$(call seconds,run)" "$(call seconds,config)" "$(call seconds,answers)"
	@echo; echo 'The merged model says:'
	@$(log) cat $(OUT)/answers.mpz | sed -n "1,5p"
	@printf '\n%-10s %s\n' adapter $(RUN)/adapter 'merged' $(OUT)/merged answers '$(OUT)/answers.mpz (peft-log cat)' \
	    scores '$(OUT)/scores/before.json $(OUT)/scores/after.json' curve '$(RUN)/metrics.mpz (peft-log tty)'
show: $(OUT)/tokens/train.mpz
	@$(tok) --show 3 -m $(MODEL) $(OUT)/data/train.mpz
clean:
	rm -rf $(OUT)
