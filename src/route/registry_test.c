#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "route/registry.h"

static const char model_path[] = TEST_DATA "/models/stories260K.gguf";

static void count_news(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static struct route_registry *make(const struct route_model *models, size_t count, atomic_int *news,
                                   struct err *err)
{
    struct route_registry_params params = {.models = models,
                                           .model_count = count,
                                           .local = route_local_params_default(),
                                           .notify = news ? count_news : NULL,
                                           .notify_arg = news};
    params.local.threads = 1;
    return route_registry_create(&params, err);
}

static void models_are_found_by_their_ids_only(void **state)
{
    const struct route_model models[] = {{model_path, NULL}, {model_path, "team/tiny:1"}};
    struct err err = {0};
    atomic_int news = 0;
    (void)state;
    struct route_registry *registry = make(models, 2, &news, &err);
    assert_non_null(registry);
    assert_int_equal(route_registry_count(registry), 2);
    assert_false(route_registry_is_ready(registry));
    assert_null(route_registry_find(registry, STR("stories260K"), &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(route_registry_start(registry, &err));
    for (int i = 0; i < 5000 && !route_registry_is_ready(registry); i++) {
        clock_sleep_ns(2000000);
    }
    assert_true(route_registry_is_ready(registry));
    assert_int_equal(atomic_load(&news), 2);
    assert_non_null(route_registry_find(registry, STR("stories260K"), &err));
    assert_non_null(route_registry_find(registry, STR("team/tiny:1"), &err));
    static const char *const others[] = {"", "stories260k", "stories260K ", "team", "gpt-4"};
    for (size_t i = 0; i < 5; i++) {
        assert_null(route_registry_find(registry, str_of(others[i]), &err));
        assert_int_equal(err.code, ERR_MODEL);
        assert_string_equal(err.param, "model");
    }
    struct route_entry entry;
    route_registry_entry(registry, 1, &entry, NULL);
    assert_true(str_eq(entry.id, STR("team/tiny:1")) && entry.state == ROUTE_READY);
    assert_true(entry.local && entry.created_s > 0);
    route_registry_destroy(registry);
}

static void what_cannot_be_served_is_refused_at_once(void **state)
{
    const struct route_model twice[] = {{model_path, NULL}, {model_path, NULL}};
    const struct route_model missing = {"/nonexistent.gguf", NULL};
    struct err err = {0};
    (void)state;
    assert_null(make(twice, 2, NULL, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_null(make(&missing, 1, NULL, &err));
    assert_int_equal(err.code, ERR_IO);
    struct route_registry_params params = {
        .models = twice, .model_count = 1, .local = route_local_params_default()};
    params.local.memory_max = 1000;
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    params.local.memory_max = 0;
    params.local.chat_template_file = "/nonexistent.jinja";
    assert_null(route_registry_create(&params, &err));
    assert_int_equal(err.code, ERR_IO);
    route_registry_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_found_by_their_ids_only),
        cmocka_unit_test(what_cannot_be_served_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
