#include "route/budget.h"

size_t route_budget_victim(const struct route_resident *residents, size_t count, uint64_t missing)
{
    size_t oldest = SIZE_MAX, oldest_enough = SIZE_MAX;
    uint64_t idle_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct route_resident *r = &residents[i];
        if (!r->is_idle) {
            continue;
        }
        idle_bytes = r->bytes > UINT64_MAX - idle_bytes ? UINT64_MAX : idle_bytes + r->bytes;
        if (oldest == SIZE_MAX || r->used_ns < residents[oldest].used_ns) {
            oldest = i;
        }
        if (r->bytes >= missing &&
            (oldest_enough == SIZE_MAX || r->used_ns < residents[oldest_enough].used_ns)) {
            oldest_enough = i;
        }
    }
    if (idle_bytes < missing) {
        return SIZE_MAX;
    }
    return oldest_enough != SIZE_MAX ? oldest_enough : oldest;
}
