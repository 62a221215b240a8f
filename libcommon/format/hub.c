/* hub.c: see hub.h. The layout is huggingface_hub's: CACHE/models--ORG--NAME/refs/main holds the revision, whose files
 * lie in snapshots/REVISION. */
#include "libcommon/format/hub.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

bool hub_name(const char *s)
{
    const size_t org = strspn(s, NAME_CHARS), name = s[org] == '/' ? strspn(s + org + 1, NAME_CHARS) : 0;
    return org && name && !s[org + 1 + name] && s[0] != '.' && s[0] != '-' && s[org + 1] != '.';
}

/* The client's own order: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, the home directory. */
static char *cache_dir(void)
{
    static const char *const from[][2] = {{"HF_HUB_CACHE", ""},
                                          {"HF_HOME", "/hub"},
                                          {"XDG_CACHE_HOME", "/huggingface/hub"},
                                          {"HOME", "/.cache/huggingface/hub"}};
    for (int i = 0; i < 4; i++) {
        const char *v = getenv(from[i][0]);
        if (v && *v) return mem_printf("%s%s", v, from[i][1]);
    }
    return NULL;
}

char *hub_cached(const char *name)
{
    char *cache = cache_dir();
    if (!cache) return NULL;
    const char *slash = strchr(name, '/');
    char *model = mem_printf("%s/models--%.*s--%s", cache, (int)(slash - name), name, slash + 1);
    char *ref = mem_printf("%s/refs/main", model), *dir = NULL;
    struct err none = {0};
    size_t n = 0;
    char *revision = file_exists(ref) ? file_read(ref, 256, &n, &none) : NULL;
    if (revision && n && strspn(revision, "0123456789abcdef") == n) {
        dir = mem_printf("%s/snapshots/%s", model, revision);
        char *config = mem_printf("%s/config.json", dir);
        if (!file_exists(config)) free(dir), dir = NULL;
        free(config);
    }
    free(revision);
    free(ref);
    free(model);
    free(cache);
    return dir;
}
