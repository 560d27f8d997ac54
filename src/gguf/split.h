/* Names of split models: PREFIX-00002-of-00005.gguf is part 2 of 5. */
#ifndef GGUF_SPLIT_H
#define GGUF_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct gguf_split_name {
    struct str prefix; /* with directories; borrows from the path */
    uint32_t number;   /* from 1 */
    uint32_t count;
};

/* False when the path does not end in such a name. Five digits each, as every writer uses. */
bool gguf_split_parse(struct str path, struct gguf_split_name *name);

#endif
