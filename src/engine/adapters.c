/* Adapters of requests: what they ask for, and what it means for cached pages. Keys and values of a
 * page were computed under its sequence's adapters, so these are a part of its identity, in memory
 * and on disk:
 *
 *     salt = SHA-256("hearth adapters 1", the request's salt, then digest and scale of each adapter
 *            that changes anything, in order)                            1 byte more than a salt
 * has
 *
 * A sequence without adapters keeps the salt of its request, and shares with all that have none. */
#include <math.h>
#include <openssl/evp.h>
#include <string.h>

#include "engine/state.h"

bool engine_adapters_check(const struct engine *engine, const struct engine_request *request,
                           struct err *err)
{
    const size_t count = engine->params.adapter_count;
    if (!request->has_scales) {
        return true;
    }
    if (request->scale_count > count) {
        return err_set_param(err, ERR_INVALID, "lora", "adapter %lu of a model with %zu adapters",
                             (unsigned long)request->scale_count - 1, count);
    }
    for (uint32_t i = 0; i < request->scale_count; i++) {
        if (!(fabsf(request->scales[i]) <= ENGINE_SCALE_MAX)) {
            return err_set_param(err, ERR_INVALID, "lora",
                                 "the scale of adapter %lu is not between -%d and %d",
                                 (unsigned long)i, ENGINE_SCALE_MAX, ENGINE_SCALE_MAX);
        }
    }
    return true;
}

void engine_scales(struct engine *engine, float scales[MODEL_ADAPTERS_MAX])
{
    pthread_mutex_lock(&engine->lock);
    memcpy(scales, engine->scales, sizeof engine->scales);
    pthread_mutex_unlock(&engine->lock);
}

bool engine_set_scales(struct engine *engine, const float scales[MODEL_ADAPTERS_MAX],
                       struct err *err)
{
    struct engine_request asked = {.has_scales = true,
                                   .scale_count = (uint32_t)engine->params.adapter_count};
    memcpy(asked.scales, scales, sizeof asked.scales);
    if (!engine_adapters_check(engine, &asked, err)) {
        return false;
    }
    pthread_mutex_lock(&engine->lock);
    memcpy(engine->scales, scales, sizeof engine->scales);
    pthread_mutex_unlock(&engine->lock);
    return true;
}

static void put_scale(uint8_t *at, float scale)
{
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(bits >> 8 * i);
    }
}

bool engine_adapters_settle(struct engine *engine, struct engine_sequence *seq)
{
    static const char head[] = "hearth adapters 1";
    enum { ENTRY_BYTES = ENGINE_DIGEST_BYTES + 4 };
    uint8_t text[sizeof head + 1 + ENGINE_SALT_BYTES_MAX + MODEL_ADAPTERS_MAX * ENTRY_BYTES];
    struct engine_request *request = &seq->request;
    struct engine_salt *salt = &seq->salt;
    size_t len = sizeof head;
    if (!request->has_scales) {
        engine_scales(engine, request->scales);
        request->scale_count = (uint32_t)engine->params.adapter_count;
    }
    for (uint32_t i = request->scale_count; i < MODEL_ADAPTERS_MAX; i++) {
        request->scales[i] = 0;
    }
    memcpy(text, head, sizeof head);
    text[len++] = (uint8_t)salt->len;
    memcpy(text + len, salt->bytes, salt->len);
    len += salt->len;
    for (size_t i = 0; i < engine->params.adapter_count; i++) {
        if (request->scales[i] != 0) {
            memcpy(text + len, &engine->adapters[i].digest, ENGINE_DIGEST_BYTES);
            put_scale(text + len + ENGINE_DIGEST_BYTES, request->scales[i]);
            len += ENTRY_BYTES;
            seq->is_adapted = true;
        }
    }
    if (seq->is_adapted) {
        salt->len = sizeof salt->bytes;
        salt->bytes[ENGINE_SALT_BYTES_MAX] = 1;
    }
    return !seq->is_adapted || EVP_Digest(text, len, salt->bytes, NULL, EVP_sha256(), NULL) == 1;
}
