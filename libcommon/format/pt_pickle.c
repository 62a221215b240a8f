/* pt_pickle: see pt_pickle.h. Sources: CPython's pickletools (opcodes), torch/serialization.py (persistent ids) and
 * torch/_utils.py (the two functions).
 *
 * A tuple is a run of values in a pool; a storage is the tuple of its persistent id under another kind, a tensor the
 * tuple of its arguments. Dicts have numbers, and their entries stand in one list with the dict's number. So no value
 * owns another, nothing recurses, and cycles through the memo harm nobody. */
#include "libcommon/format/pt_pickle.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_MARKS = 32,
    MAX_VALUES = 1 << 22 /* on the stack, in the memo, in tuples: 4 times what 16 MiB of them need */
};
#define ONLY_STATE_DICTS "only state dicts of tensors are read"

enum kind { K_NONE, K_BOOL, K_INT, K_STR, K_GLOBAL, K_TUPLE, K_DICT, K_STORAGE, K_TENSOR };
static const char *const kind_name[] = {"None",
                                        "a truth value",
                                        "a number",
                                        "a string",
                                        "a class or function",
                                        "a tuple",
                                        "a dict",
                                        "a storage without tensor",
                                        "a tensor"};

struct val {
    uint8_t kind;
    uint32_t n; /* bytes of a string, values of a tuple */
    union {
        int64_t i;     /* number, truth value, global, dict */
        size_t at;     /* in the pool: tuple, storage, tensor */
        const char *s; /* in the pickle */
    };
};

struct vals {
    struct val *v;
    size_t n, cap;
};

struct dict {
    uint32_t n;   /* entries */
    bool ordered; /* an OrderedDict, which can have attributes */
    bool other;   /* has a key that is not "_metadata" */
};

struct pair {
    size_t dict;
    struct val key, value;
};

struct vm {
    const unsigned char *start, *p, *end;
    const unsigned char *op; /* being executed */
    const char *path;
    struct err *e;
    struct vals stack, memo, pool;
    size_t mark[MAX_MARKS]; /* heights of the stack */
    int n_mark;
    struct dict *dict;
    size_t n_dict, cap_dict;
    struct pair *pair;
    size_t n_pair, cap_pair;
};

/* ---- globals ------------------------------------------------------------------------------- */

enum { G_ORDERED_DICT, G_TENSOR, G_PARAMETER, G_STORAGES };

static const struct {
    const char *module, *name;
    const char *dtype; /* of a storage */
    int size;
} globals[] = {
    [G_ORDERED_DICT] = {"collections", "OrderedDict", NULL, 0},
    [G_TENSOR] = {"torch._utils", "_rebuild_tensor_v2", NULL, 0},
    [G_PARAMETER] = {"torch._utils", "_rebuild_parameter", NULL, 0},
    [G_STORAGES] = {"torch", "FloatStorage", "F32", 4},
    {"torch", "HalfStorage", "F16", 2},
    {"torch", "BFloat16Storage", "BF16", 2},
    {"torch", "DoubleStorage", "F64", 8},
    {"torch", "LongStorage", "I64", 8},
    {"torch", "IntStorage", "I32", 4},
    {"torch", "ShortStorage", "I16", 2},
    {"torch", "CharStorage", "I8", 1},
    {"torch", "ByteStorage", "U8", 1},
    {"torch", "BoolStorage", "BOOL", 1},
};

static bool same(struct str s, const char *z) { return s.n == strlen(z) && !memcmp(s.p, z, s.n); }
static struct str str_of(struct val v) { return (struct str){v.s, v.n}; }

static int bad(const struct vm *v, const char *what)
{
    return err_set(v->e, E_PT, "%s: data.pkl, byte %td: %s", v->path, v->op - v->start, what);
}

static int refuse_global(const struct vm *v, struct str module, struct str name)
{
    char full[128];
    int n = snprintf(full, sizeof full, "%.*s.%.*s", (int)(module.n & 0xffff), module.p, (int)(name.n & 0xffff),
                     name.p);
    return err_set(v->e, E_POLICY, "%s: data.pkl, byte %td, asks for %s: it would run code; " ONLY_STATE_DICTS, v->path,
                   v->op - v->start, err_quote(full, n < (int)sizeof full ? (size_t)n : sizeof full - 1));
}

/* ---- the stack ----------------------------------------------------------------------------- */

static int push_to(const struct vm *v, struct vals *a, struct val x)
{
    if (a->n == MAX_VALUES) return bad(v, "more values than a state dict has");
    a->v = mem_grow(a->v, &a->cap, a->n + 1, sizeof *a->v);
    a->v[a->n++] = x;
    return 0;
}

static int push(struct vm *v, struct val x) { return push_to(v, &v->stack, x); }

/* The values of a tuple; NULL for the empty one */
static const struct val *values(const struct vm *v, struct val tuple) { return tuple.n ? v->pool.v + tuple.at : NULL; }

/* Values above the last mark, which nothing reaches below */
static size_t on_stack(const struct vm *v) { return v->stack.n - (v->n_mark ? v->mark[v->n_mark - 1] : 0); }

static int pop(struct vm *v, struct val *x)
{
    *x = (struct val){.kind = K_NONE};
    if (!on_stack(v)) return bad(v, "the stack is empty");
    *x = v->stack.v[--v->stack.n];
    return 0;
}

static int take(struct vm *v, size_t n, const unsigned char **p)
{
    *p = v->p;
    if (n > (size_t)(v->end - v->p)) return bad(v, "the pickle is cut");
    v->p += n;
    return 0;
}

/* A little-endian number of n <= 8 bytes behind the opcode */
static int take_le(struct vm *v, int n, uint64_t *x)
{
    const unsigned char *p;
    int rc = take(v, (size_t)n, &p);
    *x = 0;
    for (int i = n; !rc && i-- > 0;) *x = *x << 8 | p[i];
    return rc;
}

/* ---- opcodes: v and the number that the table gives ---------------------------------------- */

static int op_proto(struct vm *v, int arg)
{
    uint64_t version;
    int rc = take_le(v, arg, &version);
    if (rc) return rc;
    if (v->op != v->start) return bad(v, "a second pickle inside the first");
    return version >= 2 && version <= 5 ? 0 : bad(v, "a protocol that is none of 2 to 5");
}

/* Frames only say how much may be read at once. */
static int op_frame(struct vm *v, int arg)
{
    uint64_t n;
    int rc = take_le(v, arg, &n);
    if (rc) return rc;
    return n <= (size_t)(v->end - v->p) ? 0 : bad(v, "a frame longer than the pickle");
}

static int op_none(struct vm *v, int arg)
{
    (void)arg;
    return push(v, (struct val){.kind = K_NONE});
}

static int op_bool(struct vm *v, int arg) { return push(v, (struct val){.kind = K_BOOL, .i = arg}); }

/* arg: bytes; only BININT, of 4, has a sign */
static int op_int(struct vm *v, int arg)
{
    uint64_t x;
    int rc = take_le(v, arg, &x);
    return rc ? rc : push(v, (struct val){.kind = K_INT, .i = arg == 4 ? (int32_t)x : (int64_t)x});
}

/* Two's complement of a length that the next byte gives */
static int op_long(struct vm *v, int arg)
{
    uint64_t n, x = 0;
    int rc = take_le(v, arg, &n);
    if (!rc && n > 8) rc = bad(v, "a number beyond 64 bits");
    if (!rc) rc = take_le(v, (int)n, &x);
    if (rc) return rc;
    if (n && n < 8 && x >> (8 * n - 1)) x |= ~(uint64_t)0 << (8 * n);
    return push(v, (struct val){.kind = K_INT, .i = (int64_t)x});
}

/* arg: bytes of the length */
static int op_string(struct vm *v, int arg)
{
    uint64_t n;
    const unsigned char *s = NULL;
    int rc = take_le(v, arg, &n);
    if (!rc) rc = take(v, n, &s);
    return rc ? rc : push(v, (struct val){.kind = K_STR, .n = (uint32_t)n, .s = (const char *)s});
}

static int push_global(struct vm *v, struct str module, struct str name)
{
    for (int i = 0; i < (int)(sizeof globals / sizeof *globals); i++)
        if (same(module, globals[i].module) && same(name, globals[i].name))
            return push(v, (struct val){.kind = K_GLOBAL, .i = i});
    return refuse_global(v, module, name);
}

static int take_line(struct vm *v, struct str *line)
{
    const unsigned char *s = v->p, *nl = memchr(s, '\n', (size_t)(v->end - s));
    if (!nl) return bad(v, "the pickle is cut");
    *line = (struct str){(const char *)s, (size_t)(nl - s)};
    v->p = nl + 1;
    return 0;
}

static int op_global(struct vm *v, int arg)
{
    (void)arg;
    struct str module, name;
    int rc = take_line(v, &module);
    if (!rc) rc = take_line(v, &name);
    return rc ? rc : push_global(v, module, name);
}

static int op_stack_global(struct vm *v, int arg)
{
    (void)arg;
    struct val module, name;
    int rc = pop(v, &name);
    if (!rc) rc = pop(v, &module);
    if (rc) return rc;
    if (module.kind != K_STR || name.kind != K_STR) return bad(v, "STACK_GLOBAL without two strings");
    return push_global(v, str_of(module), str_of(name));
}

/* Pickles number their memo from 0 without gaps: so its size is bounded by theirs. */
static int memo_put(struct vm *v, uint64_t i)
{
    if (!on_stack(v)) return bad(v, "the stack is empty");
    struct val top = v->stack.v[v->stack.n - 1];
    if (i > v->memo.n) return bad(v, "the memo has a gap");
    if (i == v->memo.n) return push_to(v, &v->memo, top);
    v->memo.v[i] = top;
    return 0;
}

static int op_put(struct vm *v, int arg)
{
    uint64_t i;
    int rc = take_le(v, arg, &i);
    return rc ? rc : memo_put(v, i);
}

static int op_memoize(struct vm *v, int arg)
{
    (void)arg;
    return memo_put(v, v->memo.n);
}

static int op_get(struct vm *v, int arg)
{
    uint64_t i;
    int rc = take_le(v, arg, &i);
    if (rc) return rc;
    return i < v->memo.n ? push(v, v->memo.v[i]) : bad(v, "a memo entry that does not exist");
}

static int op_mark(struct vm *v, int arg)
{
    (void)arg;
    if (v->n_mark == MAX_MARKS) return bad(v, "nested too deeply");
    v->mark[v->n_mark++] = v->stack.n;
    return 0;
}

/* A tuple of the topmost n values */
static int make_tuple(struct vm *v, size_t n)
{
    struct val t = {.kind = K_TUPLE, .n = (uint32_t)n, .at = v->pool.n};
    if (n > on_stack(v)) return bad(v, "the stack is empty");
    v->stack.n -= n;
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) rc = push_to(v, &v->pool, v->stack.v[v->stack.n + i]);
    return rc ? rc : push(v, t);
}

static int op_tuple_n(struct vm *v, int arg) { return make_tuple(v, (size_t)arg); }

static int op_tuple(struct vm *v, int arg)
{
    (void)arg;
    if (!v->n_mark) return bad(v, "no mark");
    size_t n = on_stack(v);
    v->n_mark--;
    return make_tuple(v, n);
}

/* arg: an OrderedDict */
static int op_dict(struct vm *v, int arg)
{
    v->dict = mem_grow(v->dict, &v->cap_dict, v->n_dict + 1, sizeof *v->dict);
    v->dict[v->n_dict] = (struct dict){.ordered = arg};
    return push(v, (struct val){.kind = K_DICT, .i = (int64_t)v->n_dict++});
}

static int add_pair(struct vm *v, struct val dict, struct val key, struct val value)
{
    if (dict.kind != K_DICT) return bad(v, "an entry for something that is no dict");
    if (key.kind != K_STR) return bad(v, "the key of an entry is no string");
    struct dict *d = &v->dict[dict.i];
    d->n++;
    d->other |= !same(str_of(key), "_metadata");
    v->pair = mem_grow(v->pair, &v->cap_pair, v->n_pair + 1, sizeof *v->pair);
    v->pair[v->n_pair++] = (struct pair){(size_t)dict.i, key, value};
    return 0;
}

static int op_set_item(struct vm *v, int arg)
{
    (void)arg;
    if (on_stack(v) < 3) return bad(v, "the stack is empty");
    const struct val *x = v->stack.v + (v->stack.n -= 2);
    return add_pair(v, x[-1], x[0], x[1]);
}

static int op_set_items(struct vm *v, int arg)
{
    (void)arg;
    if (!v->n_mark) return bad(v, "no mark");
    size_t n = on_stack(v);
    v->n_mark--;
    v->stack.n -= n;
    if (!on_stack(v) || n % 2) return bad(v, "entries that are no pairs, or of no dict");
    const struct val *x = v->stack.v + v->stack.n;
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i += 2) rc = add_pair(v, x[-1], x[i], x[i + 1]);
    return rc;
}

/* torch gives a module's state dict the attribute _metadata (versions of its layers). It is of no use here. */
static int op_build(struct vm *v, int arg)
{
    (void)arg;
    struct val state;
    int rc = pop(v, &state);
    if (!rc && !on_stack(v)) rc = bad(v, "the stack is empty");
    if (rc) return rc;
    struct val top = v->stack.v[v->stack.n - 1];
    if (top.kind != K_DICT || !v->dict[top.i].ordered || state.kind != K_DICT || v->dict[state.i].other)
        return bad(v, "sets other attributes than an OrderedDict's _metadata; " ONLY_STATE_DICTS);
    return 0;
}

/* Do the arguments x[0..n) have these kinds? */
static bool kinds(const struct val *x, size_t n, const uint8_t *want, size_t n_want)
{
    bool ok = n == n_want;
    for (size_t i = 0; ok && i < n; i++) ok = x[i].kind == want[i];
    return ok;
}

/* ("storage", class, key, device, elements) */
static int op_persistent(struct vm *v, int arg)
{
    static const uint8_t want[] = {K_STR, K_GLOBAL, K_STR, K_STR, K_INT};
    (void)arg;
    struct val t;
    int rc = pop(v, &t);
    if (rc) return rc;
    if (t.kind != K_TUPLE) return bad(v, "a persistent id that is no tuple");
    const struct val *x = values(v, t);
    if (!kinds(x, t.n, want, sizeof want) || !same(str_of(x[0]), "storage") || x[1].i < G_STORAGES || x[4].i < 0)
        return bad(v, "a persistent id that is no storage's");
    t.kind = K_STORAGE;
    return push(v, t);
}

static bool sizes(const struct vm *v, struct val t)
{
    const struct val *x = values(v, t);
    bool ok = t.n <= PT_PICKLE_DIMS;
    for (size_t i = 0; ok && i < t.n; i++) ok = x[i].kind == K_INT && x[i].i >= 0;
    return ok;
}

static bool no_hooks(const struct vm *v, struct val d) { return d.kind == K_DICT && !v->dict[d.i].n; }

/* (storage, offset, shape, stride, requires_grad, hooks) */
static int make_tensor(struct vm *v, struct val t)
{
    static const uint8_t want[] = {K_STORAGE, K_INT, K_TUPLE, K_TUPLE, K_BOOL, K_DICT};
    const struct val *x = values(v, t);
    if (!kinds(x, t.n, want, sizeof want) || !no_hooks(v, x[5]))
        return bad(v, "a tensor with other arguments than storage, offset, shape, stride, no hooks");
    if (x[1].i < 0 || !sizes(v, x[2]) || !sizes(v, x[3]) || x[2].n != x[3].n)
        return bad(v, "a tensor whose offset, shape or stride is wrong (at most 8 dimensions)");
    t.kind = K_TENSOR;
    return push(v, t);
}

/* (tensor, requires_grad, hooks) */
static int make_parameter(struct vm *v, struct val t)
{
    static const uint8_t want[] = {K_TENSOR, K_BOOL, K_DICT};
    const struct val *x = values(v, t);
    if (!kinds(x, t.n, want, sizeof want) || !no_hooks(v, x[2])) return bad(v, "a Parameter of other things");
    return push(v, x[0]);
}

static int op_reduce(struct vm *v, int arg)
{
    (void)arg;
    struct val f, t;
    int rc = pop(v, &t);
    if (!rc) rc = pop(v, &f);
    if (rc) return rc;
    if (t.kind != K_TUPLE || f.kind != K_GLOBAL) return bad(v, "a call that is none");
    switch (f.i) {
    case G_ORDERED_DICT:
        return t.n ? bad(v, "an OrderedDict made of something") : op_dict(v, true);
    case G_TENSOR:
        return make_tensor(v, t);
    case G_PARAMETER:
        return make_parameter(v, t);
    default:
        return bad(v, "calls a storage's class");
    }
}

/* All opcodes by name; those without a function are refused, arg 1: as they run code. */
static const struct {
    const char *name;
    int (*fn)(struct vm *v, int arg);
    int arg;
} ops[256] = {
    [0x80] = {"PROTO", op_proto, 1},
    [0x95] = {"FRAME", op_frame, 8},
    ['N'] = {"NONE", op_none, 0},
    [0x88] = {"NEWTRUE", op_bool, 1},
    [0x89] = {"NEWFALSE", op_bool, 0},
    ['K'] = {"BININT1", op_int, 1},
    ['M'] = {"BININT2", op_int, 2},
    ['J'] = {"BININT", op_int, 4},
    [0x8a] = {"LONG1", op_long, 1},
    [0x8c] = {"SHORT_BINUNICODE", op_string, 1},
    ['X'] = {"BINUNICODE", op_string, 4},
    [0x8d] = {"BINUNICODE8", op_string, 8},
    ['c'] = {"GLOBAL", op_global, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['('] = {"MARK", op_mark, 0},
    ['t'] = {"TUPLE", op_tuple, 0},
    [')'] = {"EMPTY_TUPLE", op_tuple_n, 0},
    [0x85] = {"TUPLE1", op_tuple_n, 1},
    [0x86] = {"TUPLE2", op_tuple_n, 2},
    [0x87] = {"TUPLE3", op_tuple_n, 3},
    ['}'] = {"EMPTY_DICT", op_dict, false},
    ['s'] = {"SETITEM", op_set_item, 0},
    ['u'] = {"SETITEMS", op_set_items, 0},
    ['b'] = {"BUILD", op_build, 0},
    ['Q'] = {"BINPERSID", op_persistent, 0},
    ['R'] = {"REDUCE", op_reduce, 0},
    ['0'] = {"POP", NULL, 0},
    ['1'] = {"POP_MARK", NULL, 0},
    ['2'] = {"DUP", NULL, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['G'] = {"BINFLOAT", NULL, 0},
    ['I'] = {"INT", NULL, 0},
    ['L'] = {"LONG", NULL, 0},
    [0x8b] = {"LONG4", NULL, 0},
    ['P'] = {"PERSID", NULL, 0},
    ['S'] = {"STRING", NULL, 0},
    ['T'] = {"BINSTRING", NULL, 0},
    ['U'] = {"SHORT_BINSTRING", NULL, 0},
    ['V'] = {"UNICODE", NULL, 0},
    ['B'] = {"BINBYTES", NULL, 0},
    ['C'] = {"SHORT_BINBYTES", NULL, 0},
    [0x8e] = {"BINBYTES8", NULL, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
    ['a'] = {"APPEND", NULL, 0},
    ['e'] = {"APPENDS", NULL, 0},
    [']'] = {"EMPTY_LIST", NULL, 0},
    ['l'] = {"LIST", NULL, 0},
    ['d'] = {"DICT", NULL, 0},
    ['g'] = {"GET", NULL, 0},
    ['p'] = {"PUT", NULL, 0},
    [0x8f] = {"EMPTY_SET", NULL, 0},
    [0x90] = {"ADDITEMS", NULL, 0},
    [0x91] = {"FROZENSET", NULL, 0},
    ['i'] = {"INST", NULL, 1},
    ['o'] = {"OBJ", NULL, 1},
    [0x81] = {"NEWOBJ", NULL, 1},
    [0x92] = {"NEWOBJ_EX", NULL, 1},
    [0x82] = {"EXT1", NULL, 1},
    [0x83] = {"EXT2", NULL, 1},
    [0x84] = {"EXT4", NULL, 1},
};

static int refuse_op(const struct vm *v, unsigned char op)
{
    if (!ops[op].name) return bad(v, "no opcode of a pickle");
    bool runs = ops[op].arg;
    return err_set(v->e, runs ? E_POLICY : E_PT, "%s: data.pkl, byte %td: opcode %s: %s" ONLY_STATE_DICTS, v->path,
                   v->op - v->start, ops[op].name, runs ? "it would run code; " : "");
}

/* To STOP, which ends the pickle and leaves one dict. */
static int run(struct vm *v)
{
    if (v->p == v->end || *v->p != 0x80) return bad(v, "no pickle of a protocol from 2 to 5");
    for (;;) {
        v->op = v->p;
        if (v->p == v->end) return bad(v, "the pickle is cut");
        unsigned char op = *v->p++;
        if (op == '.') break;
        int rc = ops[op].fn ? ops[op].fn(v, ops[op].arg) : refuse_op(v, op);
        if (rc) return rc;
    }
    if (v->p != v->end) return bad(v, "bytes follow the end of the pickle");
    if (v->n_mark || v->stack.n != 1) return bad(v, "the pickle ends with other than one value");
    if (v->stack.v[0].kind != K_DICT)
        return err_set(v->e, E_PT, "%s: holds %s; " ONLY_STATE_DICTS, v->path, kind_name[v->stack.v[0].kind]);
    return 0;
}

static struct pt_item item_of(const struct vm *v, const struct pair *pair)
{
    const struct val *x = values(v, pair->value), *s = values(v, x[0]);
    const struct val *shape = values(v, x[2]), *stride = values(v, x[3]);
    struct pt_item it = {.name = str_of(pair->key),
                         .storage = str_of(s[2]),
                         .dtype = globals[s[1].i].dtype,
                         .size = globals[s[1].i].size,
                         .storage_len = s[4].i,
                         .offset = x[1].i,
                         .ndim = (int)x[2].n};
    for (int i = 0; i < it.ndim; i++) {
        it.shape[i] = shape[i].i;
        it.stride[i] = stride[i].i;
    }
    return it;
}

int pt_pickle_read(const unsigned char *p, size_t n, const char *path,
                   int (*each)(void *ctx, const struct pt_item *item, struct err *e), void *ctx, struct err *e)
{
    struct vm v = {.start = p, .p = p, .op = p, .end = p + n, .path = path, .e = e};
    int rc = n <= PT_PICKLE_MAX ? run(&v) : bad(&v, "a pickle of more than 16 MiB");
    for (size_t i = 0; i < v.n_pair && !rc; i++) {
        const struct pair *x = &v.pair[i];
        if ((int64_t)x->dict != v.stack.v[0].i) continue;
        if (x->value.kind != K_TENSOR) {
            rc = err_set(e, E_PT, "%s: entry %s is %s, no tensor; " ONLY_STATE_DICTS, path,
                         err_quote(x->key.s, x->key.n), kind_name[x->value.kind]);
            break;
        }
        struct pt_item it = item_of(&v, x);
        rc = each(ctx, &it, e);
    }
    free(v.stack.v);
    free(v.memo.v);
    free(v.pool.v);
    free(v.dict);
    free(v.pair);
    return rc;
}
