#include "server/batch_lines.h"

static enum server_batch_state fail(struct server_batch_line *line)
{
    /* The engine has no place for it now: it is asked again later. */
    return line->failure.code == ERR_BUSY && !line->is_submitted ? SERVER_BATCH_WAITS
                                                                 : SERVER_BATCH_FAILED;
}

void server_batch_line_start(struct server_batch_line *line, const struct api_run_owner *owner)
{
    line->is_used = true;
    line->is_submitted = false;
    line->failure.code = ERR_NONE;
    struct str body = buf_view(&line->line.body);
    bool ok = line->dialect ? api_run_parse(&line->run, line->dialect, body, &line->failure)
                            : api_embedding_parse(&line->embedding, &api_openai_embeddings, body,
                                                  &line->failure);
    if (ok && line->dialect) {
        line->run.request.lane = GEN_LANE_BATCH;
    } else if (ok) {
        ok = api_embedding_ask(&line->embedding, owner->registry, owner->notify, owner->arg,
                               &line->failure);
    }
    if (ok) {
        line->failure.code = ERR_NONE; /* it may hold what was prepared for a case */
    }
}

static enum server_batch_state advance_embedding(struct server_batch_line *line,
                                                 const struct api_run_owner *owner)
{
    struct api_embedding *embedding = &line->embedding;
    if (!line->is_submitted) {
        enum route_use_state state = route_use_poll(embedding->use, NULL, &line->failure);
        if (state == ROUTE_USE_WAITING) {
            return SERVER_BATCH_WAITS;
        }
        if (state == ROUTE_USE_FAILED ||
            !api_embedding_submit(embedding, owner->notify, owner->arg, &line->failure)) {
            return fail(line);
        }
        line->is_submitted = true;
    }
    if (!api_embedding_is_done(embedding)) {
        return SERVER_BATCH_WAITS;
    }
    return api_embedding_answer(embedding, &line->answer, &line->failure) ? SERVER_BATCH_ANSWERED
                                                                          : SERVER_BATCH_FAILED;
}

static enum server_batch_state advance_run(struct server_batch_line *line,
                                           const struct api_run_owner *owner)
{
    struct api_run *run = &line->run;
    struct buf unused = {0};
    if (!line->is_submitted) {
        if (!run->use && !api_run_ask(run, owner, &line->failure)) {
            return fail(line);
        }
        if (api_run_poll(run, NULL, &line->failure) == ROUTE_USE_WAITING) {
            return SERVER_BATCH_WAITS;
        }
        if (!api_run_submit(run, owner, &line->failure)) {
            return SERVER_BATCH_FAILED;
        }
        line->is_submitted = true;
    }
    bool ok = api_run_drain(run, SIZE_MAX, &unused, &line->failure);
    buf_deinit(&unused);
    if (!ok) {
        return SERVER_BATCH_FAILED;
    }
    if (!api_run_is_done(run)) {
        return SERVER_BATCH_WAITS;
    }
    if (api_run_must_commit(run) && !api_run_commit(run, &line->failure)) {
        return SERVER_BATCH_FAILED;
    }
    line->dialect->whole(&run->render, &line->answer);
    if (run->render.failed || line->answer.failed) {
        err_set_memory(&line->failure, line->answer.len);
        return SERVER_BATCH_FAILED;
    }
    return SERVER_BATCH_ANSWERED;
}

enum server_batch_state server_batch_line_advance(struct server_batch_line *line,
                                                  const struct api_run_owner *owner)
{
    if (line->failure.code != ERR_NONE) {
        return SERVER_BATCH_FAILED; /* it could not be read */
    }
    enum server_batch_state state =
        line->dialect ? advance_run(line, owner) : advance_embedding(line, owner);
    if (state == SERVER_BATCH_WAITS) {
        line->failure.code = ERR_NONE;
    }
    return state;
}

void server_batch_line_end(struct server_batch_line *line)
{
    if (!line->is_used) {
        return;
    }
    if (line->dialect) {
        api_run_close(&line->run);
    } else {
        api_embedding_close(&line->embedding);
    }
    buf_deinit(&line->line.body);
    buf_deinit(&line->answer);
    *line = (struct server_batch_line){0};
}
