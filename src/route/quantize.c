#include "route/quantize.h"

#include "base/os.h"
#include "model/quantize.h"

bool route_quantize(const char *in, const char *out, const struct route_quantize *how,
                    struct err *err)
{
    struct model_quantize_result result;
    os_thread_yield_to_others(); /* and so do the threads of the pool, which inherit it */
    struct pool *pool = pool_create(os_cpu_cores(), err);
    const struct model_quantize quantize = {.target = how->target,
                                            .pool = pool,
                                            .progress = how->progress,
                                            .is_cancelled = how->is_cancelled,
                                            .arg = how->arg};
    bool ok = pool && model_quantize(in, out, &quantize, &result, err);
    pool_destroy(pool);
    return ok;
}
