#include "api/run.h"

#include "api/define.h"
#include "api/truncate.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"

bool api_run_parse(struct api_run *run, const struct api_dialect *dialect, struct str body,
                   struct err *err)
{
    run->dialect = dialect;
    return dialect->parse(&run->request, body, err);
}

/* Equal texts promise equal answers: file, numerics, build. */
static void add_fingerprint(const struct route_local *local, struct buf *out)
{
    const struct route_local_params *params = route_local_params_of(local);
    const struct model_info *info =
        model_info(route_local_model((struct route_local *)(uintptr_t)local));
    buf_add_format(out, "%s %s %llu %llu %s %s", HEARTH_VERSION, info->architecture,
                   (unsigned long long)info->file_bytes, (unsigned long long)info->parameter_count,
                   cpu_level_name(params->cpu_level), route_kv_type_name(params->kv_type));
}

static bool submit_choices(struct api_run *run, const struct api_run_owner *owner,
                           struct engine *engine, struct err *err)
{
    size_t count = api_request_choices(&run->request);
    run->streams = MEM_ARRAY(struct engine_stream *, count);
    if (!run->streams) {
        return err_set_memory(err, count * sizeof *run->streams);
    }
    if (run->request.stream && run->request.stream_interval > 1) {
        run->intervals = MEM_ARRAY(struct api_interval, count);
        if (!run->intervals) {
            return err_set_memory(err, count * sizeof *run->intervals);
        }
    }
    unsigned char own_salt[ENGINE_SALT_BYTES_MAX]; /* that no other request has */
    os_random(own_salt, sizeof own_salt);
    for (size_t i = 0; i < count; i++) {
        struct engine_request request;
        api_request_engine(&run->request, i, owner->id, &request);
        request.cache_salt = request.tenant = owner->tenant;
        if (run->request.shuns_cache) {
            request.cache_salt = (struct str){(const char *)own_salt, sizeof own_salt};
        }
        request.wants_place = run->request.stream && run->dialect->queued;
        struct engine_stream *stream =
            engine_submit(engine, &request, owner->notify, owner->arg, err);
        if (!stream) {
            if (err->code == ERR_CONTEXT && err->param[0] == 0) {
                err_wrap_param(err, "%s", run->request.prompts[i / run->request.n].path);
            }
            return false;
        }
        run->streams[run->stream_count++] = stream;
    }
    return true;
}

static bool is_abandoned(const struct api_run_owner *owner)
{
    return owner->is_abandoned && owner->is_abandoned(owner->arg);
}

bool api_run_ask(struct api_run *run, const struct api_run_owner *owner, struct err *err)
{
    struct gen_request *request = &run->request;
    run->owner = *owner;
    if (run->dialect->resolve && !run->dialect->resolve(request, owner, err)) {
        return false;
    }
    if (request->only_unloads) {
        return route_registry_unload(owner->registry, request->model, request->is_tagged, err);
    }
    struct route_use_params params = {.id = request->model,
                                      .is_tagged = request->is_tagged,
                                      .has_keep = request->has_keep,
                                      .keep_ns = request->keep_ns,
                                      .notify = owner->notify,
                                      .arg = owner->arg};
    run->asked_ns = clock_now_ns();
    run->use = route_use_begin(owner->registry, &params, err);
    return run->use != NULL;
}

enum route_use_state api_run_poll(const struct api_run *run, double *progress, struct err *err)
{
    return run->use ? route_use_poll(run->use, progress, err) : ROUTE_USE_READY;
}

/* Nothing is left to do: the answer says so. */
static bool submit_unload(struct api_run *run, struct err *err)
{
    return api_render_init(&run->render, run->dialect, &run->request, NULL, run->request.model,
                           (struct str){0}, err);
}

bool api_run_submit(struct api_run *run, const struct api_run_owner *owner, struct err *err)
{
    struct gen_request *request = &run->request;
    if (is_abandoned(owner) || (!run->use && !api_run_ask(run, owner, err))) {
        return false;
    }
    if (!run->use) {
        return submit_unload(run, err);
    }
    if (!route_use_wait(run->use, err)) {
        return false;
    }
    int64_t load_ns = clock_now_ns() - run->asked_ns;
    struct route_local *local = route_use_local(run->use);
    if (!route_local_engine(local)) {
        char quoted[STR_QUOTE_MAX];
        return err_set_param(err, ERR_UNSUPPORTED, "model",
                             "the model '%s' makes vectors of texts, it does not generate",
                             str_quote(quoted, request->model));
    }
    request->chat = route_use_chat(run->use, err);
    if (!request->chat || !api_request_define(request, route_use_definition(run->use), err) ||
        !api_request_prepare(request, local, err) || !api_truncate(request, local, err) ||
        is_abandoned(owner)) {
        return false;
    }
    struct buf fingerprint = {0};
    add_fingerprint(local, &fingerprint);
    bool ok = api_render_init(&run->render, run->dialect, request, route_local_text(local),
                              request->model, buf_view(&fingerprint), err);
    buf_deinit(&fingerprint);
    run->render.load_ns = load_ns;
    run->render.ctx_tokens = engine_ctx_tokens(route_local_engine(local));
    return ok && submit_choices(run, owner, route_local_engine(local), err) &&
           (!run->dialect->keep || !request->is_kept ||
            run->dialect->keep(&run->render, &run->owner, err));
}

static bool take_event(struct api_run *run, size_t choice, const struct engine_event *event,
                       struct buf *out, struct err *failure)
{
    if (event->kind == ENGINE_EVENT_ERROR) {
        *failure = event->error;
        return false;
    }
    if (event->kind == ENGINE_EVENT_DONE && event->finish == ENGINE_CANCELLED) {
        return err_set(failure, ERR_BUSY, "the server is stopping");
    }
    if (event->kind == ENGINE_EVENT_QUEUED) {
        run->dialect->queued(&run->render, event->ahead, event->eta_s, out);
        return true;
    }
    struct gen_event told;
    api_render_collect(&run->render, choice, event, &told);
    if (run->request.stream || run->dialect->always_tells) {
        run->dialect->event(&run->render, choice, &told, out);
    }
    return !(run->render.failed || out->failed) || err_set_memory(failure, out->len);
}

/* The event at once, or once enough came to be told; the end lets all go. */
static bool pass_event(struct api_run *run, size_t choice, struct engine_event *event,
                       struct buf *out, struct err *failure)
{
    struct api_interval *interval = run->intervals ? &run->intervals[choice] : NULL;
    struct engine_event held;
    if (!interval || event->kind == ENGINE_EVENT_QUEUED || event->is_prompt) {
        return take_event(run, choice, event, out, failure);
    }
    bool is_tokens = event->kind == ENGINE_EVENT_TOKENS;
    if (is_tokens && !api_interval_add(interval, event)) {
        return err_set_memory(failure, out->len);
    }
    if (is_tokens && !api_interval_is_full(interval, run->request.stream_interval)) {
        return true;
    }
    bool ok = true;
    if (api_interval_take(interval, &held)) {
        ok = take_event(run, choice, &held, out, failure);
        engine_event_deinit(&held);
    }
    return ok && (is_tokens || take_event(run, choice, event, out, failure));
}

bool api_run_drain(struct api_run *run, size_t bytes_max, struct buf *out, struct err *failure)
{
    size_t idle = 0;
    while (idle < run->stream_count && out->len < bytes_max) {
        size_t choice = run->next_choice;
        struct engine_event event;
        run->next_choice = (choice + 1) % run->stream_count;
        if (run->render.choices[choice].is_done || !engine_next(run->streams[choice], &event)) {
            idle++;
            continue;
        }
        idle = 0;
        bool ok = pass_event(run, choice, &event, out, failure);
        engine_event_deinit(&event);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool api_run_is_done(const struct api_run *run)
{
    return api_render_is_done(&run->render);
}

bool api_run_must_commit(const struct api_run *run)
{
    return run->dialect->commit && run->request.is_kept;
}

bool api_run_commit(struct api_run *run, struct err *err)
{
    return run->dialect->commit(&run->render, &run->owner, err);
}

void api_run_abandon(struct api_run *run, const struct err *failure)
{
    if (run->dialect->abandon && run->request.is_kept) {
        run->dialect->abandon(&run->render, &run->owner, failure);
    }
}

void api_run_stop(struct api_run *run)
{
    for (size_t i = 0; i < run->stream_count; i++) {
        engine_cancel(run->streams[i]); /* all first: closing may wait for a step */
    }
    for (size_t i = 0; i < run->stream_count; i++) {
        engine_stream_close(run->streams[i]);
    }
    for (size_t i = 0; run->intervals && i < run->stream_count; i++) {
        api_interval_deinit(&run->intervals[i]);
    }
    mem_free(run->intervals);
    run->intervals = NULL;
    mem_free(run->streams);
    run->streams = NULL;
    run->stream_count = 0;
}

void api_run_close(struct api_run *run)
{
    api_run_stop(run);
    if (run->dialect && run->dialect->release && run->render.request) {
        run->dialect->release(&run->render);
    }
    api_render_deinit(&run->render);
    api_request_deinit(&run->request);
    route_use_end(run->use);
    run->use = NULL;
}
