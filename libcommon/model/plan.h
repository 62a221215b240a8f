/* plan: all large memory of a run, laid out before anything is computed: a table of (arena, name, shape, dtype, bytes),
 * one allocation for each arena, the same table printed by --plan. What is not in the table is not allocated during a
 * step. */
#ifndef PEFT_MODEL_PLAN_H
#define PEFT_MODEL_PLAN_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "kernels/device.h"
#include "kernels/dtype.h"
#include "libcommon/base/err.h"

enum plan_arena {
    ARENA_WEIGHTS, /* of the base model */
    ARENA_ADAPTER, /* parameters, gradients, optimizer moments */
    ARENA_SAVED,   /* activations kept from forward to backward */
    ARENA_CACHE,   /* keys and values of generation */
    ARENA_SCRATCH, /* lost between ops or layers */
    ARENA_COUNT
};
extern const char *const plan_arena_names[ARENA_COUNT];

struct plan_item {
    enum plan_arena arena;
    char *name; /* of the array: "qkv" */
    int layer;  /* -1: of none */
    long dim[2];
    int elem_bytes; /* of an element; items are laid out in order, each aligned to 256 bytes */
    uint64_t bytes, off;
    void **slot; /* gets the address at plan_alloc */
};
struct plan {
    struct plan_item *item;
    size_t n, cap;
    uint64_t total[ARENA_COUNT];
    void *arena[ARENA_COUNT];
    struct device *dev;
};

/* Add [n0][n1] elements; *slot is set by plan_alloc. Zero elements leave *slot NULL. The name of an array of a
 * layer begins with "layer %d ". E_PLAN if the size overflows. */
int plan_add(struct plan *p, enum plan_arena arena, void *slot, int elem_bytes, long n0, long n1, struct err *e,
             const char *name, ...) __attribute__((format(printf, 8, 9)));
uint64_t plan_bytes(const struct plan *p);
/* Refuse with E_PLAN when extra + the plan exceed what the device has free; else allocate and fill the slots. An
 * allocation that fails all the same is device_error's, with what each arena needs. */
int plan_alloc(struct plan *p, struct device *dev, uint64_t extra_bytes, struct err *e);
void plan_free(struct plan *p);
/* The table; arrays of one name in several layers are summed into one line. */
void plan_print(const struct plan *p, FILE *f);
#endif
