/* How pages come to the disk and back.
 *
 *     worker                                     thread of the store
 *     a page is indexed: note -> [waiting]
 *     after each step: feed   -> job      ---->  write       the page is pinned (a reference) and,
 *     collect: unpin          <- disk_done <---              being full, never written again
 *
 *     a sequence is admitted: load -> job ---->  read each page, stop at the first that is not good
 *     collect: kv_count, publish <- disk_done <-             into pages that only it holds
 *
 * The worker waits for neither. At most writes_max pages are pinned; the others wait in a ring
 * without a reference, and are lost for the disk when they are evicted meanwhile (the disk is then
 * slower than the model, and the oldest prompts are the ones to lose). A pinned page is neither
 * unused nor idle, so the head of the queue may have to wait for the disk, but never a sequence
 * that runs: what it was promised does not count pinned pages. */
#include "engine/spill.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/state.h"

#define FLUSH_NS 2000000000 /* for pages that wait when the engine is closed */

struct engine_write {
    struct engine_disk_job job;
    struct engine *engine;
    struct engine_page_key key, state_key;
    uint32_t page, state; /* kept with it, pinned; or ENGINE_STATE_NONE */
    bool is_busy;
};

struct engine_load {
    struct engine_disk_job job;
    struct engine *engine;
    struct engine_sequence *seq;
    uint32_t first, count, good; /* pages of the sequence */
    /* A state that stands behind them, read to a place of its own; or ENGINE_STATE_NONE. */
    uint32_t state, state_count;
    struct engine_page_key state_key;
    struct engine_page_key keys[];
};

uint64_t engine_spill_bytes(uint32_t page_total)
{
    return (uint64_t)page_total *
               (sizeof(struct engine_digest) + 2 * sizeof(bool) + sizeof(uint32_t)) +
           ENGINE_WRITES_MAX * sizeof(struct engine_write);
}

bool engine_spill_init(struct engine *engine, struct err *err)
{
    struct engine_spill *s = &engine->spill;
    const uint32_t total = engine->cache.pages.total;
    if (!engine->params.disk || !engine->cache.nodes) {
        return true;
    }
    s->digests = MEM_ARRAY(struct engine_digest, total);
    s->is_dirty = MEM_ARRAY(bool, total);
    s->is_waiting = MEM_ARRAY(bool, total);
    s->waiting = MEM_ARRAY(uint32_t, total);
    s->writes = MEM_ARRAY(struct engine_write, ENGINE_WRITES_MAX);
    s->writes_max = total / 8 < 1 ? 1 : total / 8;
    s->writes_max = s->writes_max < ENGINE_WRITES_MAX ? s->writes_max : ENGINE_WRITES_MAX;
    return (s->digests && s->is_dirty && s->is_waiting && s->waiting && s->writes) ||
           err_set_memory(err, engine_spill_bytes(total));
}

void engine_spill_deinit(struct engine *engine)
{
    struct engine_spill *s = &engine->spill;
    mem_free(s->digests);
    mem_free(s->is_dirty);
    mem_free(s->is_waiting);
    mem_free(s->waiting);
    mem_free(s->writes);
    *s = (struct engine_spill){0};
}

/* ---- the store's thread ---- */

static void tell_done(struct engine *engine, struct engine_disk_job *job)
{
    pthread_mutex_lock(&engine->lock);
    job->next = engine->disk_done;
    engine->disk_done = job;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
}

static void run_write(struct engine_disk_job *job)
{
    struct engine_write *write = (struct engine_write *)job; /* its first member */
    const struct engine_params *p = &write->engine->params;
    const struct model_plan *plan = model_plan_of(p->model);
    engine_disk_write(p->disk, &write->key, model_page(p->model, write->page), plan->page_bytes);
    if (write->state != ENGINE_STATE_NONE) {
        engine_disk_write(p->disk, &write->state_key, model_state(p->model, write->state),
                          plan->state_bytes);
    }
    tell_done(write->engine, job);
}

static void run_load(struct engine_disk_job *job)
{
    struct engine_load *load = (struct engine_load *)job;
    const struct engine_params *p = &load->engine->params;
    while (load->good < load->count &&
           engine_disk_read(p->disk, &load->keys[load->good],
                            model_page(p->model, load->seq->pages[load->first + load->good]),
                            model_plan_of(p->model)->page_bytes)) {
        load->good++;
    }
    /* What stands behind a bad page is computed again; so that it is written again too: */
    for (uint32_t i = load->good + 1; i < load->count; i++) {
        engine_disk_drop(p->disk, &load->keys[i]);
    }
    if (load->state != ENGINE_STATE_NONE && load->good < load->count) {
        engine_disk_drop(p->disk, &load->state_key);
        load->state_count = 0;
    } else if (load->state != ENGINE_STATE_NONE &&
               !engine_disk_read(p->disk, &load->state_key, model_state(p->model, load->state),
                                 model_plan_of(p->model)->state_bytes)) {
        load->state_count = 0;
    }
    tell_done(load->engine, job);
}

/* ---- writing ---- */

static void parent_of_first(const struct engine *engine, const struct engine_salt *salt,
                            struct engine_digest *out)
{
    engine_disk_root(&engine->params.identity, salt->bytes, salt->len, out);
}

static void make_key(const struct engine *engine, uint32_t page, struct engine_page_key *key)
{
    const struct engine_cache_node *node = &engine->cache.nodes[page];
    key->identity = engine->params.identity;
    if (node->parent == ENGINE_CACHE_NONE) {
        parent_of_first(engine, &node->salt, &key->parent);
    } else {
        key->parent = engine->spill.digests[node->parent];
    }
    memcpy(key->tokens, node->tokens, sizeof key->tokens);
    engine_disk_seal(key);
}

/* A state is known by its page: it is filed as what follows it, under tokens that no page has. */
static void make_state_key(const struct engine *engine, const struct engine_digest *page,
                           struct engine_page_key *key)
{
    key->identity = engine->params.identity;
    key->parent = *page;
    memset(key->tokens, 0xff, sizeof key->tokens);
    engine_disk_seal(key);
}

/* The state that is kept with a page and not on disk yet, or NONE. */
static uint32_t find_dirty_state(const struct engine *engine, uint32_t page,
                                 struct engine_page_key *key)
{
    const uint32_t state = engine->cache.nodes[page].state;
    if (state == ENGINE_STATE_NONE) {
        return state;
    }
    make_state_key(engine, &engine->spill.digests[page], key);
    return engine_disk_has(engine->params.disk, &key->own) ? ENGINE_STATE_NONE : state;
}

void engine_spill_note(struct engine *engine, uint32_t page)
{
    struct engine_spill *s = &engine->spill;
    struct engine_page_key key;
    if (!s->digests) {
        return;
    }
    make_key(engine, page, &key);
    s->digests[page] = key.own;
    s->is_dirty[page] = !engine_disk_has(engine->params.disk, &key.own) ||
                        find_dirty_state(engine, page, &key) != ENGINE_STATE_NONE;
    if (s->is_dirty[page] && !s->is_waiting[page]) {
        const uint32_t total = engine->cache.pages.total;
        s->waiting[(s->waiting_first + s->waiting_count++) % total] = page;
        s->is_waiting[page] = true;
    }
}

static struct engine_write *find_free(struct engine_spill *s)
{
    uint32_t i = 0;
    while (s->writes[i].is_busy) {
        i++;
    }
    return &s->writes[i];
}

void engine_spill_feed(struct engine *engine)
{
    struct engine_spill *s = &engine->spill;
    while (s->waiting_count > 0 && s->write_count < s->writes_max) {
        const uint32_t page = s->waiting[s->waiting_first];
        const bool is_due = s->is_dirty[page] && engine->cache.nodes[page].is_indexed;
        if (is_due && !engine_cache_pin(&engine->cache, page)) {
            break;
        }
        s->waiting_first = (s->waiting_first + 1) % engine->cache.pages.total;
        s->waiting_count--;
        s->is_waiting[page] = false;
        if (!is_due) {
            continue;
        }
        struct engine_write *write = find_free(s);
        *write = (struct engine_write){
            .job = {.run = run_write}, .engine = engine, .page = page, .is_busy = true};
        make_key(engine, page, &write->key);
        write->state = find_dirty_state(engine, page, &write->state_key);
        if (write->state != ENGINE_STATE_NONE) {
            engine_states_pin(&engine->states, write->state);
        }
        s->write_count++;
        engine_disk_run(engine->params.disk, &write->job, false);
    }
}

static void end_write(struct engine *engine, struct engine_write *write)
{
    engine->spill.is_dirty[write->page] = false;
    if (write->state != ENGINE_STATE_NONE) {
        engine_states_unpin(&engine->states, write->state);
    }
    engine_cache_release(&engine->cache, &write->page, 1);
    write->is_busy = false;
    engine->spill.write_count--;
}

/* ---- reading ---- */

/* Keys of the prompt's pages behind those that the sequence has, as far as the disk knows them. */
static uint32_t find_keys(struct engine *engine, const struct engine_sequence *seq,
                          struct engine_page_key *keys, uint32_t most)
{
    const uint32_t held = seq->held_count;
    uint32_t count = 0;
    struct engine_digest parent;
    if (held == 0) {
        parent_of_first(engine, &seq->salt, &parent);
    } else {
        parent = engine->spill.digests[seq->pages[held - 1]];
        engine_disk_touch(engine->params.disk, &parent);
    }
    for (; count < most; count++) {
        struct engine_page_key *key = &keys[count];
        key->identity = engine->params.identity;
        key->parent = parent;
        memcpy(key->tokens, seq->tokens + (size_t)(held + count) * KV_PAGE_TOKENS,
               sizeof key->tokens);
        engine_disk_seal(key);
        if (!engine_disk_has(engine->params.disk, &key->own)) {
            break;
        }
        parent = key->own;
    }
    return count;
}

/* Finds the last state on disk behind what is there in memory; the load ends at it. False: none. */
static bool find_state(struct engine *engine, struct engine_load *load)
{
    const struct engine_sequence *seq = load->seq;
    uint32_t end = load->first + load->count;
    for (; end * KV_PAGE_TOKENS > seq->kv_count; end--) {
        const struct engine_digest *page = end > load->first
                                               ? &load->keys[end - 1 - load->first].own
                                               : &engine->spill.digests[seq->pages[end - 1]];
        make_state_key(engine, page, &load->state_key);
        if (engine_disk_has(engine->params.disk, &load->state_key.own)) {
            break;
        }
    }
    if (end * KV_PAGE_TOKENS <= seq->kv_count) {
        return false;
    }
    load->count = end > load->first ? end - load->first : 0;
    load->state_count = end * KV_PAGE_TOKENS;
    load->state = engine_states_take(&engine->states);
    return true;
}

void engine_spill_load(struct engine *engine, struct engine_sequence *seq)
{
    const bool has_states = engine_states_are(&engine->states);
    const uint32_t whole = engine_sequence_takeable(seq);
    const uint32_t most = whole - (whole < seq->held_count ? whole : seq->held_count);
    if (!engine->spill.digests || whole == 0 || (most == 0 && !has_states)) {
        return;
    }
    struct engine_load *load =
        mem_alloc(1, sizeof *load + (size_t)most * sizeof(struct engine_page_key));
    if (!load) {
        return; /* it is computed */
    }
    *load = (struct engine_load){.job = {.run = run_load},
                                 .engine = engine,
                                 .seq = seq,
                                 .first = seq->held_count,
                                 .state = ENGINE_STATE_NONE};
    load->count = find_keys(engine, seq, load->keys, most);
    if (has_states ? !find_state(engine, load) : load->count == 0) {
        mem_free(load);
        return;
    }
    engine_sequence_reach(engine, seq, (load->first + load->count) * KV_PAGE_TOKENS);
    seq->load = load;
    engine->spill.loading_count++;
    engine_disk_run(engine->params.disk, &load->job, true);
}

static void end_load(struct engine *engine, struct engine_load *load)
{
    load->seq->load = NULL;
    engine->spill.loading_count--;
    if (load->state_count == 0) {
        engine_states_give(&engine->states, load->state);
        load->state = ENGINE_STATE_NONE;
    }
    engine_sequence_loaded(engine, load->seq, load->good, load->state, load->state_count);
    mem_free(load);
}

/* ---- both ---- */

void engine_spill_collect(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct engine_disk_job *job = engine->disk_done;
    engine->disk_done = NULL;
    pthread_mutex_unlock(&engine->lock);
    while (job) {
        struct engine_disk_job *next = job->next;
        if (job->run == run_load) {
            end_load(engine, (struct engine_load *)job);
        } else {
            end_write(engine, (struct engine_write *)job);
        }
        engine->head_waits = engine->is_stuck = false;
        job = next;
    }
}

static void wait_disk(struct engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    while (!engine->disk_done) {
        pthread_cond_wait(&engine->work, &engine->lock);
    }
    pthread_mutex_unlock(&engine->lock);
    engine_spill_collect(engine);
}

void engine_spill_wait_loads(struct engine *engine)
{
    while (engine->spill.loading_count > 0) {
        wait_disk(engine);
    }
}

void engine_spill_flush(struct engine *engine)
{
    const int64_t until_ns = clock_now_ns() + FLUSH_NS;
    engine_spill_feed(engine);
    while (engine->spill.write_count > 0) {
        wait_disk(engine);
        if (clock_now_ns() < until_ns) {
            engine_spill_feed(engine);
        }
    }
}
