/* hub: names of models on the Hugging Face Hub, and where its Python client keeps what it has fetched. */
#ifndef PEFT_FORMAT_HUB_H
#define PEFT_FORMAT_HUB_H
#include <stdbool.h>
bool hub_name(const char *s); /* can it be "ORGANISATION/NAME"? */
/* The directory of the newest fetched revision with a config.json, malloc'ed; NULL: none. */
char *hub_cached(const char *name);
#endif
