/* adapter_source: the tensors of an adapter by name: of a safetensors file, of a file of torch where there is no other
 * (read strictly, and nothing in it is executed: format/pt_read.h), or made of another format's in memory. */
#ifndef PEFT_PEFT_ADAPTER_SOURCE_H
#define PEFT_PEFT_ADAPTER_SOURCE_H
#include "libcommon/format/pt_read.h"
#include "libcommon/format/safetensors.h"

struct adapter_source { /* {0} is empty and valid */
    char *path;
    struct safetensors *st;
    struct pt_file *pt;
};

/* dir/tensors, or dir/pickled (NULL: none) where that is all there is. E_NOINPUT, E_SAFETENSORS, E_PT, E_POLICY; to be
 * closed also after an error. */
int adapter_source_open(struct adapter_source *s, const char *dir, const char *tensors, const char *pickled,
                        struct err *e);
void adapter_source_close(struct adapter_source *s);
int adapter_source_size(const struct adapter_source *s);
const char *adapter_source_name(const struct adapter_source *s, int i);
/* The tensor as one of safetensors; false: it is not there. */
bool adapter_source_find(const struct adapter_source *s, const char *name, struct st_tensor *out);
const char *adapter_source_meta(const struct adapter_source *s, const char *key); /* NULL: absent */
/* Its values as f32, all finite. E_ADAPTER names the tensor. */
int adapter_source_f32(const struct adapter_source *s, const struct st_tensor *t, float *dst, struct err *e);
#endif
