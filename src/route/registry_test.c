/* The registry with its keeper: loads on demand, waiting, unloading, room; with threads, for the
 * sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "route/registry.h"

static const char model_path[] = TEST_DATA "/models/stories260K.gguf";

static void count_news(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* They come a moment after what they tell of. */
static void check_news(atomic_int *news, int wanted)
{
    for (int i = 0; i < 5000 && atomic_load(news) < wanted; i++) {
        clock_sleep_ns(1000000);
    }
    assert_int_equal(atomic_load(news), wanted);
}

static struct route_registry_params params_of(const struct route_model *models, size_t count)
{
    struct route_registry_params params = {.models = models,
                                           .model_count = count,
                                           .local = route_local_params_default(),
                                           .keep_ns = ROUTE_KEEP_FOREVER};
    params.local.threads = 1;
    return params;
}

static struct route_registry *make(const struct route_registry_params *params)
{
    struct err err = {0};
    struct route_registry *registry = route_registry_create(params, &err);
    if (!registry || !route_registry_start(registry, &err)) {
        fail_msg("%s", err.text);
    }
    return registry;
}

static enum route_state state_of(struct route_registry *registry, const char *id)
{
    struct route_entry entry;
    struct err err;
    assert_true(route_registry_find(registry, str_of(id), false, &entry, &err));
    enum route_state state = entry.state;
    assert_int_equal(state == ROUTE_READY, entry.local != NULL);
    route_entry_deinit(&entry);
    return state;
}

static void wait_state(struct route_registry *registry, const char *id, enum route_state wanted)
{
    for (int i = 0; i < 10000 && state_of(registry, id) != wanted; i++) {
        clock_sleep_ns(1000000);
    }
    assert_int_equal(state_of(registry, id), wanted);
}

static struct route_use *begin_use(struct route_registry *registry, const char *id, int64_t keep_ns)
{
    struct err err = {0};
    struct route_use_params params = {.id = str_of(id), .has_keep = true, .keep_ns = keep_ns};
    struct route_use *use = route_use_begin(registry, &params, &err);
    if (!use) {
        fail_msg("%s", err.text);
    }
    return use;
}

/* ---- at start ---- */

static void models_are_found_by_their_ids_only(void **state)
{
    const struct route_model models[] = {{.path = model_path},
                                         {.path = model_path, .id = "team/tiny:1"}};
    struct route_registry_params params = params_of(models, 2);
    struct err err = {0};
    atomic_int news = 0;
    (void)state;
    params.notify = count_news;
    params.notify_arg = &news;
    struct route_registry *registry = route_registry_create(&params, &err);
    assert_non_null(registry);
    assert_false(route_registry_is_ready(registry));
    assert_int_equal(state_of(registry, "stories260K"), ROUTE_LOADING);
    assert_true(route_registry_start(registry, &err));
    wait_state(registry, "stories260K", ROUTE_READY);
    assert_true(route_registry_is_ready(registry));
    check_news(&news, 1); /* one file, two names: one load */
    static const char *const others[] = {"", "stories260k", "stories260K ", "team", "gpt-4"};
    for (size_t i = 0; i < 5; i++) {
        struct route_use_params use = {.id = str_of(others[i]), .is_tagged = true};
        assert_null(route_use_begin(registry, &use, &err));
        assert_int_equal(err.code, ERR_MODEL);
        assert_string_equal(err.param, "model");
    }
    struct route_list list;
    assert_true(route_registry_list(registry, &list, &err));
    assert_int_equal(list.count, 2);
    assert_ptr_equal(list.entries[0].local, list.entries[1].local);
    assert_true(str_eq(list.entries[1].id, STR("team/tiny:1")) && list.entries[1].was_asked);
    assert_true(list.entries[1].created_s > 0 && list.entries[1].expires_ms == INT64_MAX);
    assert_string_equal(list.entries[0].facts->architecture, "llama");
    route_list_deinit(&list);
    route_registry_destroy(registry);
}

static void what_cannot_be_served_is_refused_at_once(void **state)
{
    const struct route_model twice[] = {{.path = model_path}, {.path = model_path}};
    const struct route_model missing = {.path = "/nonexistent.gguf"};
    struct err err = {0};
    struct route_registry_params params = params_of(twice, 2);
    (void)state;
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_USAGE);
    params = params_of(&missing, 1);
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_IO);
    params = params_of(twice, 1);
    params.local.memory_max = 1000;
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    params.local.memory_max = 0;
    params.local.chat_template_file = "/nonexistent.jinja";
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_IO);
    route_registry_destroy(NULL);
}

/* ---- on demand ---- */

static void a_model_is_loaded_when_it_is_asked_for(void **state)
{
    const struct route_model model = {.path = model_path, .id = "tiny", .when = ROUTE_ON_DEMAND};
    struct route_registry_params params = params_of(&model, 1);
    struct err err = {0};
    (void)state;
    struct route_registry *registry = make(&params);
    assert_true(route_registry_is_ready(registry)); /* nothing to wait for */
    assert_int_equal(state_of(registry, "tiny"), ROUTE_UNLOADED);
    struct route_use_params tagged = {.id = STR("tiny:latest"), .is_tagged = true};
    struct route_use *use = route_use_begin(registry, &tagged, &err);
    assert_true(use && route_use_wait(use, &err));
    assert_non_null(route_local_engine(route_use_local(use)));
    assert_ptr_equal(route_use_chat(use, &err), route_local_chat(route_use_local(use)));
    assert_null(route_use_definition(use));
    route_use_end(use);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_READY); /* it stays */
    assert_true(route_registry_unload(registry, STR("tiny"), false, &err));
    assert_int_equal(state_of(registry, "tiny"), ROUTE_UNLOADED);
    use = begin_use(registry, "tiny", ROUTE_KEEP_FOREVER);
    assert_true(route_use_wait(use, &err));
    route_use_end(use);
    assert_false(route_registry_unload(registry, STR("none"), false, &err));
    assert_int_equal(err.code, ERR_MODEL);
    route_registry_destroy(registry);
}

static void it_goes_when_its_time_has_come(void **state)
{
    const struct route_model model = {.path = model_path, .id = "tiny", .when = ROUTE_ON_DEMAND};
    struct route_registry_params params = params_of(&model, 1);
    struct err err = {0};
    struct rusage before, after;
    (void)state;
    struct route_registry *registry = make(&params);
    struct route_use *use = begin_use(registry, "tiny", 0), *second;
    assert_true(route_use_wait(use, &err));
    second = begin_use(registry, "tiny", 0);
    route_use_end(use);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_READY); /* the second one holds it */
    route_use_end(second);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_UNLOADED); /* at once */
    use = begin_use(registry, "tiny", 300000000);
    assert_true(route_use_wait(use, &err));
    clock_sleep_ns(400000000);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_READY); /* in use: the time has not begun */
    route_use_end(use);
    struct route_entry entry;
    assert_true(route_registry_find(registry, STR("tiny"), false, &entry, &err));
    int64_t left_ms = entry.expires_ms - clock_wall_ms();
    assert_true(left_ms > -50 && left_ms <= 300);
    route_entry_deinit(&entry);
    getrusage(RUSAGE_SELF, &before);
    wait_state(registry, "tiny", ROUTE_UNLOADED);
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_nivcsw - before.ru_nivcsw < 1000);
    use = begin_use(registry, "tiny", 300000000);
    assert_true(route_use_wait(use, &err));
    second = begin_use(registry, "tiny", ROUTE_KEEP_FOREVER); /* the last word counts */
    route_use_end(use);
    route_use_end(second);
    clock_sleep_ns(400000000);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_READY);
    route_registry_destroy(registry);
}

static void a_snapshot_outlives_the_unloading(void **state)
{
    const struct route_model model = {.path = model_path, .id = "tiny", .when = ROUTE_ON_DEMAND};
    struct route_registry_params params = params_of(&model, 1);
    struct err err = {0};
    struct route_entry entry;
    (void)state;
    struct route_registry *registry = make(&params);
    struct route_use *use = begin_use(registry, "tiny", 0);
    assert_true(route_use_wait(use, &err));
    assert_true(route_registry_find(registry, STR("tiny"), false, &entry, &err));
    route_use_end(use);
    assert_int_equal(state_of(registry, "tiny"), ROUTE_UNLOADED);
    clock_sleep_ns(20000000); /* time for the keeper to do wrong */
    assert_true(engine_ctx_tokens(route_local_engine(entry.local)) > 0);
    route_entry_deinit(&entry);
    route_registry_destroy(registry);
}

/* ---- many ---- */

enum { WAITERS = 100 };

struct crowd {
    struct route_registry *registry;
    atomic_int ready, notes;
    int rounds;
};

static void *ask_for_it(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < crowd->rounds; i++) {
        struct err err = {0};
        struct route_use_params params = {.id = i % 2 ? STR("one") : STR("two"),
                                          .has_keep = true,
                                          .keep_ns = i % 3 ? 1000000 : 0,
                                          .notify = count_news,
                                          .arg = &crowd->notes};
        struct route_use *use = route_use_begin(crowd->registry, &params, &err);
        if (use && i % 5 == 4) {
            route_use_end(use); /* leaves while it may be waiting */
            continue;
        }
        if (use && route_use_wait(use, &err) &&
            engine_ctx_tokens(route_local_engine(route_use_local(use))) > 0) {
            atomic_fetch_add(&crowd->ready, 1);
        }
        route_use_end(use);
    }
    return NULL;
}

static void a_hundred_wait_for_one_load(void **state)
{
    const struct route_model models[] = {
        {.path = model_path, .id = "one", .when = ROUTE_ON_DEMAND},
        {.path = model_path, .id = "two", .when = ROUTE_ON_DEMAND}};
    struct route_registry_params params = params_of(models, 2);
    pthread_t threads[WAITERS];
    atomic_int news = 0;
    (void)state;
    params.notify = count_news;
    params.notify_arg = &news;
    struct crowd crowd = {.registry = make(&params), .rounds = 1};
    struct route_use *keeps = begin_use(crowd.registry, "one", 0); /* while the crowd comes */
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_it, &crowd), 0);
    }
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    route_use_end(keeps);
    assert_int_equal(atomic_load(&crowd.ready), WAITERS);
    check_news(&news, 1);
    route_registry_destroy(crowd.registry);
}

static void loads_and_unloads_under_a_crowd(void **state)
{
    enum { THREADS = 8, ROUNDS = 20 };
    const struct route_model models[] = {{.path = model_path, .id = "one", .when = ROUTE_ON_DEMAND},
                                         {.path = TEST_DATA "/models/../models/stories260K.gguf",
                                          .id = "two",
                                          .when = ROUTE_ON_DEMAND}};
    struct route_registry_params params = params_of(models, 2);
    pthread_t threads[THREADS];
    struct err err = {0};
    (void)state;
    struct crowd crowd = {.registry = make(&params), .rounds = ROUNDS};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_it, &crowd), 0);
    }
    for (int i = 0; i < 50; i++) {
        struct route_list list;
        assert_true(route_registry_list(crowd.registry, &list, &err));
        clock_sleep_ns(1000000);
        route_list_deinit(&list);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&crowd.ready), THREADS * ROUNDS * 4 / 5);
    route_registry_destroy(crowd.registry);
}

/* ---- room ---- */

static uint64_t plan_bytes(void)
{
    struct route_local_params params = route_local_params_default();
    struct route_plan plan;
    struct err err;
    params.path = model_path;
    params.ctx_tokens = params.kv_tokens = 512;
    params.threads = 1;
    assert_true(route_local_plan(&params, &plan, &err));
    return plan.model.total_bytes + plan.engine_bytes;
}

static void idle_models_make_room(void **state)
{
    static const char *const paths[] = {TEST_DATA "/models/stories260K.gguf",
                                        TEST_DATA "/../data/models/stories260K.gguf",
                                        TEST_DATA "/models/../models/stories260K.gguf"};
    const struct route_model models[] = {{.path = paths[0], .id = "a", .when = ROUTE_ON_DEMAND},
                                         {.path = paths[1], .id = "b", .when = ROUTE_ON_DEMAND},
                                         {.path = paths[2], .id = "c", .when = ROUTE_ON_DEMAND}};
    struct route_registry_params params = params_of(models, 3);
    struct err err = {0};
    (void)state;
    params.local.ctx_tokens = params.local.kv_tokens = 512;
    params.local.memory_max = plan_bytes() * 5 / 2; /* room for two */
    struct route_registry *registry = make(&params);
    struct route_use *a = begin_use(registry, "a", ROUTE_KEEP_FOREVER);
    assert_true(route_use_wait(a, &err));
    struct route_use *b = begin_use(registry, "b", ROUTE_KEEP_FOREVER);
    assert_true(route_use_wait(b, &err));
    struct route_use *c = begin_use(registry, "c", ROUTE_KEEP_FOREVER);
    assert_false(route_use_wait(c, &err)); /* both are in use */
    assert_int_equal(err.code, ERR_MEMORY);
    assert_string_equal(err.param, "model");
    assert_non_null(strstr(err.text, "the 2 other loaded models take"));
    route_use_end(c);
    c = begin_use(registry, "c", ROUTE_KEEP_FOREVER);
    assert_int_equal(route_use_poll(c, NULL, &err), ROUTE_USE_FAILED); /* not tried again at once */
    route_use_end(c);
    assert_int_equal(state_of(registry, "c"), ROUTE_FAILED);
    route_use_end(b);
    route_use_end(a); /* a was used last */
    clock_sleep_ns(2100000000);
    c = begin_use(registry, "c", ROUTE_KEEP_FOREVER);
    assert_true(route_use_wait(c, &err));
    assert_int_equal(state_of(registry, "a"), ROUTE_READY);
    assert_int_equal(state_of(registry, "b"), ROUTE_UNLOADED);
    route_use_end(c);
    route_registry_destroy(registry);
}

/* ---- names that come and go ---- */

static void names_are_added_and_removed(void **state)
{
    const struct route_model model = {.path = model_path, .id = "tiny", .when = ROUTE_ON_DEMAND};
    struct route_registry_params params = params_of(&model, 1);
    struct err err = {0};
    struct route_entry entry;
    (void)state;
    struct route_registry *registry = make(&params);
    json_t *object = json_pack("{s:s,s:s,s:{s:f}}", "template",
                               "{% for m in messages %}<{{ m.content }}>{% endfor %}", "system",
                               "Be brief.", "parameters", "temperature", 0.5);
    struct route_definition *definition = route_definition_create(object, &err);
    assert_true(definition && str_eq(definition->system, STR("Be brief.")));
    assert_true(route_registry_add(registry, STR("poet:latest"), model_path, definition, &err));
    struct route_use_params poet = {.id = STR("poet"), .is_tagged = true};
    struct route_use *use = route_use_begin(registry, &poet, &err);
    assert_true(use && route_use_wait(use, &err));
    const struct chat *chat = route_use_chat(use, &err);
    assert_true(chat && chat != route_local_chat(route_use_local(use)));
    assert_string_equal(chat_template_origin(chat), "text");
    assert_ptr_equal(route_use_chat(use, &err), chat);
    assert_ptr_equal(route_use_definition(use), definition);
    assert_true(route_registry_find(registry, STR("tiny"), false, &entry, &err));
    assert_true(entry.state == ROUTE_READY && !entry.was_asked); /* the same file, another name */
    route_entry_deinit(&entry);
    assert_true(route_registry_remove(registry, STR("poet"), true, &err)); /* under its use */
    assert_false(route_registry_find(registry, STR("poet:latest"), false, &entry, &err));
    assert_ptr_equal(route_use_chat(use, &err), chat);
    route_use_end(use);
    assert_false(route_registry_remove(registry, STR("tiny"), false, &err));
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_false(route_registry_remove(registry, STR("none"), false, &err));
    assert_int_equal(err.code, ERR_MODEL);
    assert_false(route_registry_add(registry, STR("tiny"), model_path, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_true(route_registry_add(registry, STR("two"), "/nonexistent.gguf", NULL, &err));
    use = begin_use(registry, "two", 0);
    assert_false(route_use_wait(use, &err));
    assert_int_equal(err.code, ERR_IO);
    route_use_end(use);
    assert_true(route_registry_add(registry, STR("two"), model_path, NULL, &err)); /* replaced */
    use = begin_use(registry, "two", 0);
    assert_true(route_use_wait(use, &err));
    route_use_end(use);
    route_registry_destroy(registry);
}

static void what_comes_to_a_place_is_served(void **state)
{
    char folder[] = "/tmp/hearth-places-XXXXXX", link[64];
    struct route_places places = {.count = 1};
    struct route_registry_params params = params_of(NULL, 0);
    struct route_list list;
    struct route_entry entry;
    struct err err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    places.folders[0] = folder;
    params.places = &places;
    struct route_registry *registry = make(&params);
    assert_true(route_registry_list(registry, &list, &err));
    assert_int_equal(list.count, 0);
    route_list_deinit(&list);
    snprintf(link, sizeof link, "%s/late.gguf", folder);
    assert_int_equal(symlink(model_path, link), 0);
    struct route_use *use = begin_use(registry, "late", ROUTE_KEEP_FOREVER);
    assert_true(route_use_wait(use, &err));
    assert_int_equal(unlink(link), 0);
    assert_true(route_registry_list(registry, &list, &err)); /* gone, but in use */
    assert_int_equal(list.count, 0);
    route_list_deinit(&list);
    assert_true(engine_ctx_tokens(route_local_engine(route_use_local(use))) > 0);
    route_use_end(use);
    assert_false(route_registry_find(registry, STR("late"), false, &entry, &err));
    route_registry_destroy(registry);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_found_by_their_ids_only),
        cmocka_unit_test(what_cannot_be_served_is_refused_at_once),
        cmocka_unit_test(a_model_is_loaded_when_it_is_asked_for),
        cmocka_unit_test(it_goes_when_its_time_has_come),
        cmocka_unit_test(a_snapshot_outlives_the_unloading),
        cmocka_unit_test(a_hundred_wait_for_one_load),
        cmocka_unit_test(loads_and_unloads_under_a_crowd),
        cmocka_unit_test(idle_models_make_room),
        cmocka_unit_test(names_are_added_and_removed),
        cmocka_unit_test(what_comes_to_a_place_is_served),
    };
    log_set_level(LOG_OFF);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
