/* tree: what a directory holds, to be compared: names, sizes and a hash of each file; and its removal. */
#ifndef TESTS_FAULT_TREE_H
#define TESTS_FAULT_TREE_H
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TREE_MAX = 256 };
struct tree {
    int n;
    struct tree_file {
        char name[256]; /* below the root; a directory ends in '/' */
        uint64_t hash;  /* FNV-1a */
    } file[TREE_MAX];
};

static struct tree *tree_into; /* nftw has no argument for its callback */
static size_t tree_root;

static uint64_t hash_file(const char *path)
{
    static unsigned char buf[1 << 16];
    uint64_t h = 0xcbf29ce484222325u;
    int fd = open(path, O_RDONLY);
    for (ssize_t n; fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0;)
        for (ssize_t i = 0; i < n; i++) h = (h ^ buf[i]) * 0x100000001b3u;
    if (fd >= 0) close(fd);
    return h;
}

static int tree_visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    /* speeds and times, the one file that differs between two runs */
    if (at->level == 0 || !strcmp(path + at->base, "telemetry.mpz")) return 0;
    if (tree_into->n == TREE_MAX) return 1;
    struct tree_file *f = &tree_into->file[tree_into->n++];
    snprintf(f->name, sizeof f->name, "%s%s", path + tree_root + 1, type == FTW_D ? "/" : "");
    f->hash = type == FTW_F ? hash_file(path) : 0;
    return 0;
}

static inline void tree_read(struct tree *t, const char *root)
{
    t->n = 0;
    tree_into = t;
    tree_root = strlen(root);
    if (nftw(root, tree_visit, 16, FTW_PHYS)) {
        fprintf(stderr, "tree: %s: cannot be read, or more than %d files\n", root, TREE_MAX);
        exit(70);
    }
}

static int tree_delete(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type;
    return at->level ? remove(path) : 0;
}

static inline void tree_empty(const char *root) { nftw(root, tree_delete, 16, FTW_PHYS | FTW_DEPTH); }

static inline const struct tree_file *tree_find(const struct tree *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->file[i].name, name)) return &t->file[i];
    return NULL;
}

/* A temporary of ours, or something below one; or a lock, which is gone as they are when its owner ends by itself. */
static inline bool tree_is_temporary(const char *name)
{
    const char *slash = strrchr(name, '/');
    return strstr(name, ".tmp-") || strstr(name, ".gone-") || !strcmp(slash ? slash + 1 : name, ".lock");
}

static inline const char *tree_temporary(const struct tree *t)
{
    for (int i = 0; i < t->n; i++)
        if (tree_is_temporary(t->file[i].name)) return t->file[i].name;
    return NULL;
}

/* The name of a file that a holds and b lacks or has with other content, temporaries apart; NULL if there is none. */
static inline const char *tree_beyond(const struct tree *a, const struct tree *b)
{
    for (int i = 0; i < a->n; i++) {
        const struct tree_file *f = tree_find(b, a->file[i].name);
        if (!tree_is_temporary(a->file[i].name) && (!f || f->hash != a->file[i].hash)) return a->file[i].name;
    }
    return NULL;
}
#endif
