/* sums.c: see sums.h. */
#include "libcommon/base/sums.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"

enum { HEX = 64, TEXT_MAX = 1 << 20 };

void sums_put(struct sums *s, const char *name, const unsigned char sha256[32])
{
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
    struct sum *x = &s->v[s->n++];
    x->name = mem_dupz(name);
    memcpy(x->sha256, sha256, sizeof x->sha256);
}

int sums_add(struct sums *s, const char *dir, const char *name, struct err *e)
{
    unsigned char d[32];
    char *path = path_join(dir, name);
    int rc = sha256_file(path, d, e);
    if (!rc) sums_put(s, name, d);
    free(path);
    return rc;
}

int sums_add_tree(struct sums *s, const char *dir, const char *below, struct err *e)
{
    char **list, *top = path_join(dir, below);
    int n = dir_list(top, &list, e), rc = n < 0 ? n : 0;
    for (int i = 0; i < n; i++) {
        char *name = *below ? path_join(below, list[i]) : mem_dupz(list[i]), *path = path_join(dir, name);
        if (!rc && strcmp(name, SUMS_FILE) != 0)
            rc = file_is_dir(path) ? sums_add_tree(s, dir, name, e) : sums_add(s, dir, name, e);
        free(name);
        free(path);
        free(list[i]);
    }
    if (n >= 0) free(list);
    free(top);
    return rc;
}

void sums_text(const struct sums *s, struct buf *b)
{
    char hex[HEX + 1];
    for (size_t i = 0; i < s->n; i++) {
        digest_hex(s->v[i].sha256, hex);
        buf_printf(b, "%s  %s\n", hex, s->v[i].name);
    }
}

bool sums_is_below(const char *name)
{
    if (strchr(name, '\n')) return false; /* which MANIFEST has no way to write */
    for (const char *p = name;; p++) {
        size_t n = strcspn(p, "/");
        if (!n || (n == 2 && !strncmp(p, "..", n))) return false;
        p += n;
        if (!*p) return true;
    }
}

static bool parse_line(struct sums *s, char *line)
{
    unsigned char d[32];
    if (strlen(line) < HEX + 3 || strncmp(line + HEX, "  ", 2) != 0) return false;
    line[HEX] = '\0';
    if (digest_parse(line, d) || !sums_is_below(line + HEX + 2)) return false;
    sums_put(s, line + HEX + 2, d);
    return true;
}

int sums_read(struct sums *s, const char *dir, enum err_id id, struct err *e)
{
    size_t n;
    char *path = path_join(dir, SUMS_FILE), *text = file_read(path, TEXT_MAX, &n, e), *save = NULL;
    bool ok = text && n && text[n - 1] == '\n' && strlen(text) == n;
    for (char *line = ok ? strtok_r(text, "\n", &save) : NULL; line && ok; line = strtok_r(NULL, "\n", &save))
        ok = parse_line(s, line);
    if (text && !ok) err_set(e, id, "%s: found something else than lines of SHA-256 and name", path);
    free(text);
    free(path);
    return -e->id;
}

int sums_check(const struct sums *s, const char *dir, enum err_id id, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        unsigned char d[32];
        char *path = path_join(dir, s->v[i].name);
        int rc = !file_exists(path) ? err_set(e, id, "%s: is missing", path) : sha256_file(path, d, e);
        if (!rc && memcmp(d, s->v[i].sha256, sizeof d) != 0)
            rc = err_set(e, id, "%s: has another SHA-256 than when it was written", path);
        free(path);
        if (rc) return rc;
    }
    return 0;
}

static bool lists(const struct sums *s, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < s->n; i++) /* the file, or a directory that files of the list lie in */
        if (!strncmp(s->v[i].name, name, n) && (!s->v[i].name[n] || s->v[i].name[n] == '/')) return true;
    return false;
}

static char *foreign_below(const struct sums *s, const char *dir, const char *below)
{
    struct err unread = {0};
    char **list, *top = path_join(dir, below), *found = NULL;
    int n = dir_list(top, &list, &unread);
    if (n < 0) found = mem_dupz(*below ? below : "."); /* who knows what is in it */
    for (int i = 0; i < n; i++) {
        char *name = *below ? path_join(below, list[i]) : mem_dupz(list[i]), *path = path_join(dir, name);
        if (!found && strcmp(name, SUMS_FILE) != 0) {
            if (!lists(s, name))
                found = mem_dupz(name);
            else if (file_is_dir(path))
                found = foreign_below(s, dir, name);
        }
        free(name);
        free(path);
        free(list[i]);
    }
    if (n >= 0) free(list);
    free(top);
    return found;
}

char *sums_foreign(const struct sums *s, const char *dir) { return foreign_below(s, dir, ""); }

void sums_fini(struct sums *s)
{
    for (size_t i = 0; i < s->n; i++) free(s->v[i].name);
    free(s->v);
    *s = (struct sums){0};
}
