# All rules of the project, one non-recursive file. `make help` lists what one types.
.DEFAULT_GOAL := all
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

# ---- what needs no configuration -------------------------------------------------------------
.PHONY: help deps quickstart
help:
	@sed -n 's/^#: //p' Makefile
#: make              build the six tools into build/release/bin
#: make deps         install the packages that the build needs (apt, by name)
#: make quickstart   set-up, default model, the example of pipelines/qa.mk; prints the scores (V=1: all that the set-up prints)
#: make check        set-up and the tests (make check-long, check-gpu, check-asan: the other tiers)
#: make check-fault  every tool under failing allocations and calls, limits, kill -9, signals; FAULT_EVERY=10 tries a tenth
#: make check-planted  plants bugs in a copy of the sources, one at a time, and counts those that the fast tier sees
#: make check-tsan   training, evaluation and tokenizing with threads under the thread sanitizer
#: make coverage     lines and branches that the fast tier runs, for each room, and the error ids that it provokes
#: make lint         layers, headers, manual pages, formatting
#: make fuzz         libFuzzer harnesses, FUZZ_SECONDS each (needs clang)
#: make bench        speed as shares of the machine's limits: a table, bench.json, bench.svg (bench-gate: a subset, pass or fail)
#: make bench-peer   the same work by transformers + peft in turn (PEFT_VENV names a virtual environment; ROWS="step qa" picks)
#: make install      PREFIX=/usr/local DESTDIR=
deps:
	@scripts/deps.sh
# What is given for the recipe is text to pass on: make expands nothing in it.
$(foreach v,CSV OUT MODEL CONFIG PREP TOK TRAIN EVAL MERGE,$(if $(filter undefined,$(origin $v)),,$(eval override $v := $$(value $v))$(eval export $v)))
quickstart:
	@scripts/quickstart.sh

# ---- configuration ---------------------------------------------------------------------------
ifeq (,$(filter help deps quickstart clean check check-long,$(MAKECMDGOALS)))
include config.mk
else
-include config.mk
endif
config.mk: configure
	./configure $(ASKED)

# Variants keep their objects apart: VARIANT=release|asan|tsan|gcov, and CUDA is a part of the path.
VARIANT ?= release
CUDA ?= 0
B := build/$(VARIANT)$(if $(filter 1,$(CUDA)),-cuda)
VERSION := 0.1.0
CUDA_ARCH ?= 80 86 89 90 100 120

CPPFLAGS += -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith $(if $(CI),-Werror)
CFLAGS_release := -O3 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_gcov := -O1 -g -fprofile-arcs -ftest-coverage
LDFLAGS_gcov := --coverage $(foreach f,err_set err_sys msg_last,-Wl,--wrap=$f)
CFLAGS += -std=gnu11 -fPIE $(WARN) -pthread $(CFLAGS_$(VARIANT))
LDFLAGS += -pie -Wl,--as-needed -Wl,-z,relro,-z,now -pthread $(filter -fsanitize%,$(CFLAGS_$(VARIANT))) $(LDFLAGS_$(VARIANT))
LDLIBS := -lzstd -lmsgpackc -lcsv -ljansson -lfyaml -lutf8proc -lcrypto -lz -lpcre2-8 -lm
# The reference implementation, by its files: a system may have put another in its place.
LDLIBS += -l:lapack/liblapack.a -l:blas/libblas.a -l:libgfortran.so.5
NVCCFLAGS := -std=c++17 -O3 -I. --compiler-options -fPIE,-Wall,-Wextra -Xcudafe --display_error_number \
	-Werror all-warnings -lineinfo $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a,code=sm_$a)
ifeq ($(CUDA),1)
CPPFLAGS += -DHAVE_CUDA=1
LDLIBS += -L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt -lpthread -lstdc++
endif

# ---- sources and objects ---------------------------------------------------------------------
LIB_C := $(wildcard kernels/*.c libcommon/*/*.c)
LIB_CU := $(if $(filter 1,$(CUDA)),$(wildcard kernels/*.cu))
TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/peft-*.c))
LIB_O := $(LIB_C:%=$B/%.o) $(LIB_CU:%=$B/%.o) $(if $(filter gcov,$(VARIANT)),$B/tests/coverage/raised.c.o)
LIB := $B/libpeft.a
BIN := $(TOOLS:%=$B/bin/%)
UNIT := $(patsubst %.c,$B/%,$(wildcard tests/unit/*.c tests/kernels/*.c tests/methods/*.c))
# A preloaded library and an allocator that gives up are nothing for a sanitizer, which brings its own of both.
UNIT += $(if $(filter release,$(VARIANT)),$B/tests/fault/sweep $B/tests/fault/shim.so)
.PHONY: all
all: $(BIN)
.SECONDARY:

# The revision lies in a file that changes only with it, so that an unchanged one rebuilds nothing.
# A tree without git, or one that git refuses to read, has no revision, and says so.
REVISION := $(shell [ -e .git ] || { echo no-git; exit; }; git describe --always --dirty --abbrev=12 2>/dev/null || echo git-failed)
.PHONY: FORCE
$B/revision: FORCE
	@mkdir -p $(@D)
	@echo '$(REVISION)' | cmp -s - $@ || echo '$(REVISION)' >$@
$B/libcommon/base/version.c.o: CPPFLAGS += -DPEFT_VERSION='"$(VERSION)"' -DPEFT_REVISION='"$(REVISION)"'
$B/libcommon/base/version.c.o: $B/revision
# Each instruction set of the CPU kernels is two files with its own flags, the products and the rest (with tiles a third,
# attention); simd.c chooses at run time. No fusing by the compiler there: see kernels/vec.h. Full debug information takes
# a third of their compile time; the test that compiles them once more, for 16 lanes without AVX-512, is as good a test
# without optimisation.
$B/kernels/simd_%.c.o: CFLAGS_FILE += -g1
$B/tests/kernels/ops.c.o $B/kernels/simd_tiles16.c.o $B/kernels/simd_gemm_tiles16.c.o: CFLAGS_FILE += -g1 -O1
$B/kernels/simd_%.c.o $B/tests/kernels/ops.c.o: CFLAGS_FILE += -ffp-contract=off -Wno-psabi
$B/kernels/simd_avx2.c.o $B/kernels/simd_gemm_avx2.c.o: CFLAGS_FILE += $(SIMD_AVX2)
$B/kernels/simd_avx512.c.o $B/kernels/simd_gemm_avx512.c.o: CFLAGS_FILE += $(SIMD_AVX512)
$B/kernels/simd_gemm_avx512bf16.c.o $B/kernels/simd_%_amx.c.o: CFLAGS_FILE += $(SIMD_AVX512) $(SIMD_BF16)
$B/kernels/simd_%_amx.c.o: CFLAGS_FILE += $(SIMD_TILES)
# Counters in the innermost loops would take hours: the bodies that exist once for each instruction set have none, nor have tests.
ifeq ($(VARIANT),gcov)
$B/kernels/simd_%.c.o: CFLAGS_FILE += -O3 -fno-profile-arcs -fno-test-coverage
$B/tests/%.c.o: CFLAGS_FILE += -fno-profile-arcs -fno-test-coverage
endif
ifneq (,$(findstring x86_64,$(shell $(CC) -dumpmachine)))
SIMD_AVX2 := -mavx2 -mfma -mf16c
SIMD_AVX512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mprefer-vector-width=512
SIMD_BF16 := -mavx512bf16
SIMD_TILES := -mamx-tile -mamx-bf16
endif
$B/%.c.o: %.c config.mk
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_FILE) -MMD -MP -c -o $@ $<
$B/%.cu.o: %.cu config.mk
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(LIB): $(LIB_O)
	rm -f $@ && ar rcs $@ $^
$B/bin/%: $B/tools/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/tests/%: $B/tests/%.c.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/tests/fault/sweep: $B/tests/fault/sweep.c.o
	$(CC) $(LDFLAGS) -o $@ $^
$B/tests/fault/shim.so: $B/tests/fault/shim.c.o
	$(CC) -shared -o $@ $^
$B/tests/fault/shim.c.o: CFLAGS_FILE += -fPIC
-include $(LIB_O:.o=.d) $(TOOLS:%=$B/tools/%.c.d) $(UNIT:=.c.d)

# ---- tests -----------------------------------------------------------------------------------
.PHONY: check check-fast check-slow check-long check-fault check-planted check-tsan coverage check-gpu check-asan lint unit fuzz
unit: $(UNIT)
check: ; @scripts/check.sh fast
check-long: ; @scripts/check.sh long
check-fast: all unit
	tests/run.sh fast $B
check-slow: all unit
	tests/run.sh long $B
check-asan:
	PEFT_KILLS=4 $(MAKE) VARIANT=asan CUDA=0 check-fast
check-fault: all unit
	tests/run.sh fault $B
check-planted: all unit
	PEFT_TEST_TIMEOUT=20000 tests/run.sh planted $B
# The parts that start threads, under the thread sanitizer.
check-tsan:
	$(MAKE) VARIANT=tsan CUDA=0 all build/tsan/tests/unit/parallel build/tsan/tests/unit/relay
	tests/run.sh tsan build/tsan
# What runs, of an optimised build, could not be told by line. Red tests do not stop it: the table is about what runs.
coverage:
	$(MAKE) VARIANT=gcov CUDA=0 all unit
	find build/gcov -name '*.gcda' -delete
	rm -f build/gcov/raised
	-PEFT_KILLS=4 PEFT_RAISED=$(CURDIR)/build/gcov/raised $(MAKE) VARIANT=gcov CUDA=0 check-fast
	scripts/coverage.sh build/gcov
check-gpu: all unit
	tests/run.sh gpu $B
lint: all
	tests/run.sh lint $B

# ---- fuzzing: one libFuzzer harness per parser -----------------------------------------------
# The parsers are compiled once more, with sanitizers, into an archive; what else a harness links is what the tools have.
FUZZ_SECONDS ?= 20
FUZZ := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_C := $(foreach d,base stream format token,$(wildcard libcommon/$d/*.c)) kernels/dtype.c libcommon/peft/run_manifest.c \
	$(addprefix libcommon/model/,arch.c config_hf.c config_table.c rope.c) \
	$(addprefix libcommon/train/,checkpoint.c run_log.c train_state.c)
FUZZ_REST := $(filter-out $(FUZZ_C:%=$B/%.o),$(LIB_O))
FUZZ_FLAGS := -std=gnu11 -g -O1 -w -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -DPEFT_VERSION='"fuzz"' \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined
build/fuzz/%.c.o: %.c
	@mkdir -p $(@D)
	clang $(filter-out -DHAVE_CUDA%,$(CPPFLAGS)) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
build/fuzz/libfuzz.a: $(FUZZ_C:%=build/fuzz/%.o)
	rm -f $@ && ar rcs $@ $^
build/fuzz/librest.a: $(FUZZ_REST)
	rm -f $@ && ar rcs $@ $^
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.c.o build/fuzz/libfuzz.a build/fuzz/librest.a
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< -Wl,--start-group build/fuzz/libfuzz.a build/fuzz/librest.a -Wl,--end-group $(LDLIBS)
-include $(FUZZ_C:%.c=build/fuzz/%.c.d) $(FUZZ:build/fuzz/%=build/fuzz/tests/fuzz/%.c.d)
fuzz: $(FUZZ)
	tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ)

# ---- speed -----------------------------------------------------------------------------------
.PHONY: bench bench-gate bench-peer
BENCH := $(patsubst %.c,$B/%,$(wildcard tests/bench/*.c))
-include $(BENCH:=.c.d)
bench: all $(BENCH)
	tests/bench/run.sh $B
bench-gate: all $(BENCH)
	tests/run.sh bench $B
bench-peer: all $(BENCH)
	tests/bench/peer.sh $B

# ---- installation ----------------------------------------------------------------------------
.PHONY: install clean
SHARE = $(DESTDIR)$(PREFIX)/share/peft
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/
	for s in 1 5 7; do install -m 644 man/*.$$s $(DESTDIR)$(PREFIX)/share/man/man$$s/; done
	install -d $(SHARE)/pipelines/data $(SHARE)/scripts
	install -m 644 $(wildcard pipelines/*.*) $(SHARE)/pipelines/
	install -m 644 pipelines/data/* $(SHARE)/pipelines/data/
	install -m 755 scripts/model.sh $(SHARE)/scripts/
clean:
	rm -rf build
