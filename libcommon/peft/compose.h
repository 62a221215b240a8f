/* compose: several adapters on one base, as a text says:
 *
 *   DIR                          one adapter
 *   stack(X,Y,...)               their effects added up, in this order; also parallel(...)
 *   average(X:0.3,Y:0.7,...)     the same with factors, divided by their sum; without factors all count the same
 *   route(NAME=X,NAME=Y,*=X)     each row takes the one that it names; *: rows that name none; X may be none
 *
 * X is a directory or again one of the first three; X:0.5 takes half of its effect. All adapters read the same input.
 * A directory's name with one of ( ) , in it cannot stand inside of one; a whole text that is no composition is a
 * directory. */
#ifndef PEFT_PEFT_COMPOSE_H
#define PEFT_PEFT_COMPOSE_H
#include "libcommon/data/dataset.h"
#include "libcommon/peft/method.h"

struct composed {
    char *dir;
    double factor; /* on its effect */
    int route;     /* index of the route that it belongs to; -1: all rows */
    struct adapter *a;
};
struct composition {
    struct composed *part; /* [n] in the order of the text */
    int n;
    char **route; /* [n_route] names; "*": rows that name none */
    int n_route;  /* 0: rows do not choose */
    size_t cap_part, cap_route;
};

/* The text's structure; nothing is opened. E_USAGE: with what is wrong and where. */
int composition_parse(struct composition *c, const char *text, struct err *e);
/* Open all adapters that are not there yet. E_ADAPTER and others of adapter_load; E_ADAPTER, naming both: two that
 * cannot stand on one site, or one whose effect has no factor or cannot hold for some rows alone. */
int composition_load(struct composition *c, struct model *m, bool force, struct err *e);
/* A fresh hook set with all of them; hooks_fini ends it. */
int composition_bind(const struct composition *c, struct hooks *h, const struct model *m, struct err *e);
/* Sets span of each row, and counts in seen [n_route] (or NULL) how many take each route. E_MISMATCH: a row names an
 * adapter that no route has. */
int composition_rows(const struct composition *c, struct dataset *d, size_t *seen, struct err *e);
/* How many rows of the set one of the adapters that they take was trained on. */
size_t composition_trained_rows(const struct composition *c, const struct dataset *d);
void composition_free(struct composition *c);
#endif
