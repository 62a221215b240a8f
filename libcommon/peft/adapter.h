/* adapter: what the files that read and write adapter directories share; methods and others use method.h. */
#ifndef PEFT_PEFT_ADAPTER_H
#define PEFT_PEFT_ADAPTER_H
#include "libcommon/base/out.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/peft/method.h"

#define ADAPTER_CONFIG  "adapter_config.json"
#define ADAPTER_TENSORS "adapter_model.safetensors"
#define ADAPTER_PICKLED "adapter_model.bin"

/* How a method's directories are read and written, where it is not Hugging Face PEFT's way. */
struct adapter_format {
    /* Is this adapter_config.json of this format? */
    bool (*is)(const json_t *config);
    int (*config_read)(struct adapter *a, const json_t *config, const struct model *m, struct err *e);
    int (*config_write)(const struct adapter *a, const struct model *m, json_t *out, struct err *e);
    const char *tensors; /* file name */
    const char *pickled; /* of a copy for a reader that asks for torch's format; NULL: none */
};

/* host[a->size] from the directory's tensors: exactly the expected ones, and a recorded base that is m's
 * (adapter_tensors.c). */
int adapter_read_tensors(struct adapter *a, const char *dir, const struct model *m, bool force, float *host,
                         struct err *e);
struct adapter *adapter_blank(const struct peft_method *method); /* without tensors; its options are zero */
/* Its adapter_config.json as adapter_save writes it; a new reference, NULL: error. */
json_t *adapter_config_json(const struct adapter *a, const struct model *m, struct err *e);
void *adapter_own(struct adapter *a, void *p); /* freed with the adapter */
#endif
