/* The engine of vectors: tasks of many threads, order, limits, cancelling, ends. */
#include "engine/fixture.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/json.h"
#include "base/os.h"
#include "engine/embed.h"

#define MODEL TEST_MODELS "/hearth-nano-embed.gguf"

struct rig {
    struct gguf *gguf;
    struct pool *pool;
    struct model *model;
    struct text *text;
    struct engine_embed *embed;
};

static struct rig open_rig(uint32_t queue_max)
{
    struct rig rig = {0};
    struct err err = {0};
    const struct model_params params = {.cpu_level = cpu_level_detect(),
                                        .sequences_max = 1,
                                        .batch_rows_max = 16,
                                        .memory_max = 1u << 30};
    rig.gguf = gguf_open(MODEL, &err);
    rig.pool = rig.gguf ? pool_create(2, &err) : NULL;
    rig.text = rig.pool ? text_open(rig.gguf, &err) : NULL;
    rig.model = rig.text ? model_load(rig.gguf, &params, rig.pool, NULL, NULL, &err) : NULL;
    const struct engine_embed_params own = {.model = rig.model, .queue_max = queue_max};
    rig.embed = rig.model ? engine_embed_create(&own, &err) : NULL;
    if (!rig.embed) {
        fail_msg("%s", err.text);
    }
    return rig;
}

static void close_rig(struct rig *rig)
{
    engine_embed_destroy(rig->embed);
    model_destroy(rig->model);
    text_close(rig->text);
    pool_destroy(rig->pool);
    gguf_close(rig->gguf);
}

static struct text_ids encode(const struct rig *rig, const char *words)
{
    struct text_ids ids = {0};
    struct err err = {0};
    const struct text_encode_opts opts = {.add_special = true};
    assert_true(text_encode(rig->text, str_of(words), &opts, &ids, &err));
    return ids;
}

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void test_likeness(void **state)
{
    static const char *const words[] = {"how do I wake up earlier in the morning",
                                        "set an alarm and go to bed early", "the engine of a car"};
    struct rig rig = open_rig(0);
    struct engine_embed_text texts[3];
    struct text_ids ids[3];
    struct err err = {0};
    const size_t width = engine_embed_info(rig.embed)->width;
    (void)state;
    assert_int_equal(width, 256);
    assert_int_equal(engine_embed_info(rig.embed)->tokens_max, 512);
    for (size_t i = 0; i < 3; i++) {
        ids[i] = encode(&rig, words[i]);
        texts[i] = (struct engine_embed_text){ids[i].ids, ids[i].count, 0};
    }
    struct engine_embed_task *task = engine_embed_submit(rig.embed, texts, 3, NULL, NULL, &err);
    assert_non_null(task);
    assert_true(engine_embed_wait(task, &err));
    const float *v = engine_embed_vectors(task);
    assert_true(cosine(v, v + width, width) > cosine(v, v + 2 * width, width) + 0.1);
    engine_embed_close(task);
    for (size_t i = 0; i < 3; i++) {
        text_ids_deinit(&ids[i]);
    }
    close_rig(&rig);
}

/* Tokens and vectors of the bundled encoder by another engine, which rounds Q8_0 activations in its
 * own way. */
static void test_judge(void **state)
{
    struct rig rig = open_rig(0);
    struct err err = {0};
    size_t len = 0, i;
    (void)state;
    char *json = os_file_slurp(TEST_GOLDEN "/encoder/hearth-nano-embed.json", 1 << 20, &len, &err);
    assert_non_null(json);
    json_t *root = json_parse((struct str){json, len}, NULL, &err);
    json_t *words = json_object_get(root, "texts");
    for (i = 0; i < json_array_size(words); i++) {
        json_t *tokens = json_array_get(json_object_get(root, "tokens"), i);
        json_t *vector = json_array_get(json_object_get(root, "vectors"), i);
        struct text_ids ids = encode(&rig, json_string_value(json_array_get(words, i)));
        float theirs[256];
        assert_int_equal(ids.count, json_array_size(tokens));
        for (size_t j = 0; j < ids.count; j++) {
            assert_int_equal(ids.ids[j], json_integer_value(json_array_get(tokens, j)));
        }
        for (size_t j = 0; j < 256; j++) {
            theirs[j] = (float)json_number_value(json_array_get(vector, j));
        }
        const struct engine_embed_text text = {ids.ids, ids.count, 0};
        struct engine_embed_task *task = engine_embed_submit(rig.embed, &text, 1, NULL, NULL, &err);
        assert_true(task && engine_embed_wait(task, &err));
        assert_true(cosine(engine_embed_vectors(task), theirs, 256) > 0.9995);
        engine_embed_close(task);
        text_ids_deinit(&ids);
    }
    assert_true(i >= 6);
    json_decref(root);
    mem_free(json);
    close_rig(&rig);
}

static void test_limits(void **state)
{
    static text_id ids[600];
    struct rig rig = open_rig(1);
    struct err err = {0};
    const struct engine_embed_text none = {ids, 0, 0}, full = {ids, 512, 0}, over = {ids, 513, 0};
    const struct engine_embed_text two[] = {full, over};
    (void)state;
    assert_null(engine_embed_submit(rig.embed, &full, 0, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(engine_embed_submit(rig.embed, &none, 1, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(engine_embed_submit(rig.embed, two, 2, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_CONTEXT);
    assert_non_null(strstr(err.text, "text 1 has 513 tokens"));
    assert_non_null(strstr(err.text, "512"));
    struct engine_embed_task *task = engine_embed_submit(rig.embed, &full, 1, NULL, NULL, &err);
    assert_non_null(task);
    struct engine_embed_task *second = engine_embed_submit(rig.embed, &full, 1, NULL, NULL, &err);
    if (!second) { /* the first one had not ended yet */
        assert_int_equal(err.code, ERR_BUSY);
    }
    assert_true(engine_embed_wait(task, &err));
    engine_embed_close(second);
    engine_embed_close(task);
    close_rig(&rig);
}

/* What the threads of the next test share. */
struct crowd {
    struct rig *rig;
    const float *alone; /* [8][width] */
    const struct engine_embed_text *texts;
    atomic_int wrong;
};

static void *ask(void *arg)
{
    struct crowd *crowd = arg;
    const size_t width = engine_embed_info(crowd->rig->embed)->width;
    for (size_t round = 0; round < 6; round++) {
        struct engine_embed_text texts[5];
        struct err err = {0};
        for (size_t i = 0; i < 5; i++) {
            texts[i] = crowd->texts[(round + i * 3) % 8];
        }
        struct engine_embed_task *task =
            engine_embed_submit(crowd->rig->embed, texts, 5, NULL, NULL, &err);
        bool is_given_up = round % 3 == 2; /* closes while it waits or runs */
        if (!task || (!is_given_up && !engine_embed_wait(task, &err))) {
            atomic_fetch_add(&crowd->wrong, 1);
        }
        for (size_t i = 0; task && !is_given_up && i < 5; i++) {
            if (memcmp(engine_embed_vectors(task) + i * width,
                       crowd->alone + (round + i * 3) % 8 * width, width * sizeof(float)) != 0) {
                atomic_fetch_add(&crowd->wrong, 1);
            }
        }
        engine_embed_close(task);
    }
    return NULL;
}

/* Texts of many requests share batches; each gets the bytes it gets alone. */
static void test_crowd(void **state)
{
    static text_id ids[8][300];
    struct engine_embed_text texts[8];
    struct rig rig = open_rig(0);
    const size_t width = engine_embed_info(rig.embed)->width;
    float *alone = MEM_ARRAY(float, 8 * width);
    struct crowd crowd = {.rig = &rig, .alone = alone, .texts = texts};
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        struct err err = {0};
        for (size_t j = 0; j < 300; j++) {
            ids[i][j] = (text_id)((i * 977 + j * j * 31) % 16000);
        }
        texts[i] = (struct engine_embed_text){ids[i], 1 + i * 37, 0};
        struct engine_embed_task *task =
            engine_embed_submit(rig.embed, &texts[i], 1, NULL, NULL, &err);
        assert_true(task && engine_embed_wait(task, &err));
        memcpy(alone + i * width, engine_embed_vectors(task), width * sizeof(float));
        engine_embed_close(task);
    }
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &crowd), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    struct engine_embed_stats stats;
    engine_embed_stats_read(rig.embed, &stats);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.tasks, 8 + 4 * 6);
    mem_free(alone);
    close_rig(&rig);
}

static void count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* A stopping engine ends what waits; every task is told once. */
static void test_stop(void **state)
{
    static text_id ids[512];
    struct rig rig = open_rig(0);
    struct engine_embed_task *tasks[20];
    const struct engine_embed_text text = {ids, 512, 0};
    atomic_int told = 0;
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        tasks[i] = engine_embed_submit(rig.embed, &text, 1, count_up, &told, &err);
        assert_non_null(tasks[i]);
    }
    for (size_t i = 0; i < 10; i++) { /* waiting, running or done */
        engine_embed_close(tasks[i]);
    }
    int before = atomic_load(&told);
    for (size_t i = 10; i < 20; i++) {
        assert_true(engine_embed_wait(tasks[i], &err));
    }
    for (size_t i = 10; i < 20; i++) {
        engine_embed_close(tasks[i]);
    }
    assert_true(before <= 20 && atomic_load(&told) >= 10);
    close_rig(&rig);
}

static void test_normalize(void **state)
{
    float v[] = {3, 4}, zero[] = {0, 0}, bad[] = {NAN, 1};
    (void)state;
    engine_embed_normalize(v, 2);
    assert_true(fabsf(v[0] - 0.6f) < 1e-7f && fabsf(v[1] - 0.8f) < 1e-7f);
    engine_embed_normalize(zero, 2);
    assert_true(zero[0] == 0 && zero[1] == 0);
    engine_embed_normalize(bad, 2);
    assert_true(isnan(bad[0]) && bad[1] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_likeness), cmocka_unit_test(test_judge),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_stop),     cmocka_unit_test(test_normalize),
    };
    return cmocka_run_group_tests_name("engine/embed", tests, NULL, NULL);
}
