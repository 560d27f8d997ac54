/* Which idle models have to go so that another one fits. A pure decision. */
#ifndef ROUTE_BUDGET_H
#define ROUTE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route_resident {
    uint64_t bytes;  /* of its memory plan */
    int64_t used_ns; /* when it was last used */
    bool is_idle;
};

/* The next to go for `missing` more bytes: of the idle ones that suffice alone the one that was
 * used longest ago; if none does, the one used longest ago of all idle ones. SIZE_MAX if all idle
 * ones together do not suffice: then nobody goes. Ask again with what is still missing. */
size_t route_budget_victim(const struct route_resident *residents, size_t count, uint64_t missing);

#endif
