/* hfdir: which files of a Hugging Face directory hold the weights.
 *
 * Names inside model.safetensors.index.json are untrusted: each must be one plain file name (no '/', no leading '.' or
 * '-', no NUL) that ends in .safetensors, so nothing outside the directory can be named. Symbolic links in the
 * directory are followed: the Hugging Face cache consists of links into its blob store, and who can plant a link in the
 * user's directory can write the file itself. What a name leads to must be a regular file. */
#ifndef PEFT_FORMAT_HFDIR_H
#define PEFT_FORMAT_HFDIR_H
#include <jansson.h>
#include <stdbool.h>
#include "libcommon/base/err.h"

struct hfdir {
    char *config_json; /* text of config.json; valid JSON */
    char **file;       /* paths, sorted by name */
    int n;
    json_t *weight_map; /* of the index: tensor -> file name; NULL: one file */
};
/* E_NOINPUT, E_MODEL, E_POLICY (a name that leaves the directory; pickled weights only). */
int hfdir_open(struct hfdir *h, const char *dir, struct err *e);
void hfdir_fini(struct hfdir *h);
/* Check the text of an index: *map gets its weight_map (a new reference), each name already found to be plain. */
int hfdir_index(const char *text, size_t n, const char *name, json_t **map, struct err *e);
#endif
