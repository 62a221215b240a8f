/* metric: the table of metrics.def, and what holds for all of them. */
#include "libcommon/eval/metric.h"
#include <string.h>

const struct metric *const metrics[] = {
#define METRIC(name) &metric_##name,
#include "libcommon/eval/metrics.def"
#undef METRIC
    NULL};

const char metric_names[] =
#define METRIC(name) ", " #name
#include "libcommon/eval/metrics.def"
#undef METRIC
    ;

const struct metric *metric_find(const char *name)
{
    for (int i = 0; metrics[i]; i++)
        if (!strcmp(metrics[i]->name, name)) return metrics[i];
    return NULL;
}

/* Figures that have another name in the configuration of other trainers, and so in ours. */
static const struct {
    const char *ours, *eval;
} alias[] = {{"em", "exact_match"}, {"ppl", "perplexity"}};

char *metric_eval_name(const char *result)
{
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (!strcmp(result, alias[i].ours)) result = alias[i].eval;
    return mem_printf("eval_%s", result);
}

const struct metric *metric_find_result(const char *result, int *index)
{
    if (!strncmp(result, "eval_", 5)) result += 5;
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (!strcmp(result, alias[i].eval)) result = alias[i].ours;
    for (int i = 0; metrics[i]; i++)
        for (int k = 0; metrics[i]->results[k]; k++)
            if (!strcmp(metrics[i]->results[k], result)) {
                *index = k;
                return metrics[i];
            }
    return NULL;
}

void metric_merge(struct metric_sum *into, const struct metric_sum *from)
{
    for (size_t i = 0; i < sizeof into->n / sizeof *into->n; i++) into->n[i] += from->n[i];
    for (size_t i = 0; i < sizeof into->x / sizeof *into->x; i++) into->x[i] += from->x[i];
}
