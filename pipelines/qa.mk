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
#: Variables: CSV      questions and answers            the example, data/facts.csv beside this file
#:            OUT      where everything goes            runs/qa
#:            MODEL    GGUF file or Hugging Face directory; the default is fetched (98 MB)
#:            CONFIG   a config.yaml instead of PREP, TOK and TRAIN; its dataset.path and model.name_or_path are used
#:            PREP TOK TRAIN EVAL MERGE   options of peft-prep, peft-tok, peft-train, peft-eval, peft-merge; quotes group
#:            BIN      directory of the tools, with its slash
#: Values are text: nothing in them is expanded or run. CSV, MODEL and CONFIG may be any names; OUT takes letters, digits, ._/+@-
#: clean removes what this recipe makes in OUT, and nothing else.
OUT ?= runs/qa
TEXT := PREP TOK TRAIN EVAL MERGE
include $(dir $(lastword $(MAKEFILE_LIST)))rules.mk

ifeq ($(CONFIG),)
MODEL ?= runs/model.gguf
CSV ?= $(RECIPES)/data/facts.csv
PREP ?= --test-size 0.17
TOK ?= --boundary separate
TRAIN ?= --method lora --lora-r 8 --lora-alpha 16 --lora-dropout 0 --target-modules q_proj,v_proj \
	--lr 4e-3 --epochs 5 --batch-size 4 --scheduler linear --warmup-ratio 0.1 \
	--metric eval_exact_match --patience 2
else
CSV ?=
MODEL ?=
PREP ?=
TOK ?=
TRAIN ?=
endif
EVAL ?= --metrics em,f1,bleu,rouge,ppl --max-new-tokens 32
MERGE ?= --format hf --dtype f32
export $(TEXT)
run := $(OUT)/run
test := $(OUT)/tokens/test.mpz

.PHONY: report split tokens base train scores merge answers show clean help
split: $(OUT)/data/train.mpz $(OUT)/data/dev.mpz $(OUT)/data/test.mpz
tokens: $(OUT)/tokens/train.mpz $(OUT)/tokens/dev.mpz $(test)
base: $(OUT)/scores/before.json
train: $(OUT)/run.done
scores: $(OUT)/scores/after.json
merge: $(OUT)/merged/config.json
answers: $(OUT)/answers.mpz
help:
	@sed -n 's/^#: \{0,1\}//p' "$$RECIPES"/qa.mk

$(eval $(call options,prep,peft-prep,PREP))
$(eval $(call options,tok,peft-tok,TOK))
$(eval $(call options,train,peft-train,TRAIN))
$(eval $(call options,eval,peft-eval,EVAL))
$(eval $(call options,merge,peft-merge,MERGE))

# Before the first stage: all options, and the model if a stage will need it. So what is wrong is told before anything runs.
checked := $(addprefix $(OUT)/options/,prep tok train eval merge) $(if $(filter-out split,$(or $(MAKECMDGOALS),report)),$(OUT)/inputs/model)

# ---- split: a row is held out or not by its number and the seed alone; a tenth of the training rows is kept aside, so that
# ---- early stopping never looks at the rows that the scores are about
$(OUT)/data/rest.mpz: $(OUT)/inputs/csv $(OUT)/options/prep | $(checked)
	$(begin) tool peft-prep "$$PREP" --split train -f -o $@ "$$CSV" $(end)
$(OUT)/data/test.mpz: $(OUT)/inputs/csv $(OUT)/options/prep | $(checked)
	$(begin) tool peft-prep "$$PREP" --split test -f -o $@ "$$CSV" $(end)
inner = "$$BIN"peft-prep --test-size 0.1 --split
$(OUT)/data/train.mpz: $(OUT)/data/rest.mpz
	$(begin) $(inner) train -f -o $@ $< $(end)
$(OUT)/data/dev.mpz: $(OUT)/data/rest.mpz
	$(begin) $(inner) test -f -o $@ $< $(end)

$(OUT)/tokens/%.mpz: $(OUT)/data/%.mpz $(OUT)/options/tok $(OUT)/inputs/model
	$(begin) tool peft-tok "$$TOK" -m "$$MODEL" -f -o $@ $< $(end)

# ---- scores of the base model, training, scores with the adapter
score = tool peft-eval "$$EVAL" -m "$$MODEL" --json
$(OUT)/scores/before.json: $(test) $(OUT)/options/eval $(OUT)/inputs/model
	$(begin) $(score) $(test) >$@.new; mv $@.new $@ $(end)
# The stamp is no part of the run directory, whose files are peft-train's.
$(OUT)/run.done: $(OUT)/tokens/train.mpz $(OUT)/tokens/dev.mpz $(OUT)/options/train $(OUT)/inputs/model
	$(begin) rm -f $@; how=$$(resume $(run) $^); \
	tool peft-train "$$TRAIN" -m "$$MODEL" -e $(OUT)/tokens/dev.mpz -o $(run) $$how $< >/dev/null; touch $@ $(end)
$(OUT)/scores/after.json: $(OUT)/run.done $(test) $(OUT)/options/eval
	$(begin) $(score) -a $(run)/adapter $(test) >$@.new; mv $@.new $@ $(end)

# ---- one model of base and adapter, compared with the two; and what it answers
$(OUT)/merged/config.json: $(OUT)/run.done $(test) $(OUT)/options/merge
	$(begin) tool peft-merge "$$MERGE" -m "$$MODEL" -a $(run)/adapter --verify $(test) -f -o $(@D) $(end)
$(OUT)/answers.mpz: $(OUT)/merged/config.json $(test) $(OUT)/options/eval
	$(begin) tool peft-eval "$$EVAL" -m $(<D) -f -o $@ $(test) $(end)

# ---- what there is to know
report: $(OUT)/scores/before.json $(OUT)/scores/after.json $(OUT)/merged/config.json $(OUT)/answers.mpz
	@printf '\n%-28s %10s %10s\n' 'held-out rows' before after
	$(sh) for k in em em_lower em_squad f1 bleu rouge_l ppl; do \
	    b=$$(score $$k $(word 1,$^)) a=$$(score $$k $(word 2,$^)); \
	    [ -z "$$a" ] || printf '%-28s %10.2f %10.2f\n' $$k "$$b" "$$a"; done
	$(sh) t=$(OUT)/time; \
	printf '%-28s %10s %10s\n' 'scoring took' "$$(seconds $$t/before)" "$$(seconds $$t/after)"; \
	printf '\ntraining %s, merge and verification %s, answers of the merged model %s\n' \
	    "$$(seconds $$t/run)" "$$(seconds $$t/config)" "$$(seconds $$t/answers)"
	@echo; echo 'The merged model says:'
	@"$$BIN"peft-log cat $(OUT)/answers.mpz | sed -n "1,5p"
	@printf '\n%-10s %s\n' adapter $(run)/adapter 'merged' $(OUT)/merged answers '$(OUT)/answers.mpz (peft-log cat)' \
	    scores '$(OUT)/scores/before.json $(OUT)/scores/after.json' curve '$(run)/metrics.mpz (peft-log tty)'
show: $(OUT)/tokens/train.mpz
	$(sh) tool peft-tok "$$TOK" --show 3 -m "$$MODEL" $(OUT)/data/train.mpz
clean: override CONFIG :=
clean:
	$(sh) [ -d $(OUT) ] || exit 0; clean_run $(run); clean_merged $(OUT)/merged; cd $(OUT); \
	rm -f {data/{rest,train,dev,test},tokens/{train,dev,test},answers}.mpz run.done scores/{before,after}.json{,.new} \
	    {options/{prep,tok,train,eval,merge},inputs/{csv,model}}{,.new} \
	    time/{rest,train,dev,test,before,run,after,config,answers}; \
	clean_dir data tokens scores options inputs time; cd - >/dev/null; clean_dir $(OUT)
