/* The plan against what the system says: each combination of settings is opened in a process of its
 * own, uses all of its memory, and reports its peak. Then processes under a limit: what a plan says
 * fits must run to its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "route/local.h"

#define NANO    TEST_MODELS "/hearth-nano.gguf"
#define STORIES TEST_DATA "/models/stories260K.gguf"

enum { SLACK_BYTES = 8 << 20 };

/* ---- in the child ---- */

struct report {
    bool fits; /* the plan was made */
    bool ran;
    uint64_t planned, peak;
    char why[256];
};

static uint64_t peak_rss(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return (uint64_t)kib << 10;
}

/* A full step with as many logits as there may be, then every page as a forward pass fills it. */
static bool use_everything(struct route_local *local)
{
    const struct route_local_params *p = route_local_params_of(local);
    const struct model_plan *plan = model_plan_of(route_local_model(local));
    const uint32_t count =
        p->batch_rows_max < plan->ctx_tokens ? p->batch_rows_max : plan->ctx_tokens - 1;
    text_id *prompt = MEM_ARRAY(text_id, count);
    struct err err;
    for (uint32_t i = 0; prompt && i < count; i++) {
        prompt[i] = (text_id)(3 + i % 200);
    }
    const struct engine_request request = {.prompt = prompt,
                                           .prompt_count = count,
                                           .sampling = engine_sampling_default(),
                                           .has_max_tokens = true,
                                           .max_tokens = 1,
                                           .wants_logprobs = true,
                                           .prompt_logprobs = true};
    struct engine_stream *stream =
        prompt ? engine_submit(route_local_engine(local), &request, NULL, NULL, &err) : NULL;
    bool ok = stream != NULL;
    for (bool ended = !ok; !ended;) {
        struct engine_event event;
        engine_wait(stream, &event);
        ended = event.kind != ENGINE_EVENT_TOKENS;
        ok = event.kind != ENGINE_EVENT_ERROR;
        engine_event_deinit(&event);
    }
    engine_stream_close(stream);
    for (uint32_t page = 0; page < plan->kv_pages; page++) {
        memset(model_page(route_local_model(local), page), 0x3c, plan->page_bytes);
    }
    mem_free(prompt);
    return ok;
}

static struct report open_and_use(const struct route_local_params *params)
{
    struct report r = {0};
    struct route_plan plan;
    struct err err = {0};
    r.fits = route_local_plan(params, &plan, &err);
    r.planned = plan.total_bytes;
    struct route_local *local = r.fits ? route_local_open(params, NULL, NULL, &err) : NULL;
    r.ran = local && use_everything(local);
    r.peak = peak_rss();
    snprintf(r.why, sizeof r.why, "%.255s", err.text);
    route_local_close(local);
    return r;
}

/* ---- processes ---- */

static bool write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "r+e"); /* made by the kernel, or it is no cgroup */
    bool ok = file && fputs(text, file) >= 0;
    return file && fclose(file) == 0 && ok;
}

/* A cgroup of `bytes` for this process, below its own; false where that cannot be made. */
static bool enter_cgroup(uint64_t bytes, char path[512])
{
    char line[300], file[600], text[32];
    FILE *own = fopen("/proc/self/cgroup", "re");
    path[0] = 0;
    while (own && fgets(line, sizeof line, own)) {
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = 0;
            snprintf(path, 512, "/sys/fs/cgroup%s/hearth-plan-%ld", line + 3, (long)getpid());
        }
    }
    if (own) {
        fclose(own);
    }
    if (!path[0] || mkdir(path, 0700) != 0) {
        path[0] = 0;
        return false;
    }
    snprintf(file, sizeof file, "%s/memory.max", path);
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    bool ok = write_file(file, text);
    snprintf(file, sizeof file, "%s/cgroup.procs", path);
    snprintf(text, sizeof text, "%ld", (long)getpid());
    ok = ok && write_file(file, text);
    if (!ok) {
        rmdir(path);
        path[0] = 0;
    }
    return ok;
}

static bool limit_address_space(uint64_t bytes)
{
    const struct rlimit limit = {bytes, bytes};
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

struct confined {
    uint64_t bytes; /* 0: no limit */
    bool by_cgroup; /* out */
    int status;     /* out: of waitpid */
};

static struct report run_child(const struct route_local_params *params, struct confined *confined)
{
    struct report r = {0};
    int ends[2];
    char group[512] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (confined->bytes && !enter_cgroup(confined->bytes, group) &&
            !limit_address_space(confined->bytes)) {
            _exit(3);
        }
        r = open_and_use(params);
        const bool is_told = write(ends[1], &r, sizeof r) == (ssize_t)sizeof r &&
                             write(ends[1], group, sizeof group) == (ssize_t)sizeof group;
        _exit(is_told ? 0 : 4);
    }
    close(ends[1]);
    const bool is_told = read(ends[0], &r, sizeof r) == (ssize_t)sizeof r &&
                         read(ends[0], group, sizeof group) == (ssize_t)sizeof group;
    close(ends[0]);
    assert_int_equal(waitpid(child, &confined->status, 0), child);
    confined->by_cgroup = is_told && group[0];
    if (confined->by_cgroup) {
        rmdir(group);
    }
    return r;
}

static void skip_where_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: what the system measures has the sanitizer's memory in it\n");
    skip();
#endif
}

/* ---- the measured peak ---- */

static void check_peak(const struct route_local_params *params, double *worst)
{
    struct confined free_one = {0};
    struct report r = run_child(params, &free_one);
    if (!r.fits || !r.ran) {
        fail_msg("%s: %s", params->path, r.why);
    }
    const double allowed = fmax(SLACK_BYTES, 0.02 * (double)r.planned);
    const double share = fabs((double)r.peak - (double)r.planned) / allowed;
    *worst = share > *worst ? share : *worst;
    if (share > 1) {
        fail_msg("%s ctx %u parallel %u batch %u kv %d: planned %llu, peak %llu", params->path,
                 params->ctx_tokens, params->sequences_max, params->batch_rows_max,
                 (int)params->kv_type, (unsigned long long)r.planned, (unsigned long long)r.peak);
    }
}

static void test_peak(void **state)
{
    static const uint32_t contexts[] = {256, 2048, 8192}, parallel[] = {1, 5, 16};
    static const uint32_t batches[] = {16, 512};
    static const enum kv_type types[] = {KV_F16, KV_F32};
    double worst = 0;
    int count = 0;
    (void)state;
    skip_where_sanitized();
    for (int m = 0; m < 2; m++) {
        for (int i = 0; i < 3 * 3 * 2 * 2; i++) {
            struct route_local_params p = route_local_params_default();
            p.path = m ? STORIES : NANO;
            p.threads = 1 + (uint32_t)i % 2;
            p.ctx_tokens = contexts[i % 3];
            p.sequences_max = parallel[i / 3 % 3];
            p.batch_rows_max = batches[i / 9 % 2];
            p.kv_type = types[i / 18];
            p.kv_tokens = p.ctx_tokens * (p.sequences_max < 4 ? p.sequences_max : 4);
            p.cache_percent = i % 4 ? 100 : 0;
            check_peak(&p, &worst);
            count++;
        }
    }
    print_message("%d combinations, the largest difference is %.0f %% of what is allowed\n", count,
                  100 * worst);
    assert_true(count >= 60);
}

/* ---- under a limit ---- */

static void test_limits(void **state)
{
    int fitting = 0, refused = 0;
    bool by_cgroup = true;
    (void)state;
    skip_where_sanitized();
    for (uint64_t mib = 40; mib <= 520; mib += 24) {
        struct route_local_params p = route_local_params_default();
        struct confined confined = {.bytes = mib << 20};
        p.path = NANO;
        p.threads = 2;
        p.ctx_tokens = mib % 48 ? 4096 : 0; /* also the longest that fits */
        p.kv_type = KV_F32;
        struct report r = run_child(&p, &confined);
        if (!WIFEXITED(confined.status) || WEXITSTATUS(confined.status) != 0) {
            fail_msg("%llu MiB: ended by status %d", (unsigned long long)mib, confined.status);
        }
        if (r.fits && !r.ran) {
            fail_msg("%llu MiB: the plan of %llu bytes was said to fit: %s",
                     (unsigned long long)mib, (unsigned long long)r.planned, r.why);
        }
        fitting += r.fits;
        refused += !r.fits;
        by_cgroup = by_cgroup && confined.by_cgroup;
    }
    print_message("limits by %s: %d plans fitted and ran, %d were refused\n",
                  by_cgroup ? "cgroup" : "RLIMIT_AS (no cgroup can be made here)", fitting,
                  refused);
    assert_true(fitting >= 5 && refused >= 1);
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("route/plan", tests, set_up, NULL);
}
