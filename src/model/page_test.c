/* docs/models.md is what the table of families and their goldens say (run with HEARTH_WRITE_DOCS=1
 * to write it). */
#include "model/fixture.h"

#include "base/json.h"
#include "base/os.h"
#include "model/traits.h"

static const char head[] =
    "# Models\n\n"
    "Generated from `src/model/traits.c` and `tests/golden/model`. The name is the file's "
    "`general.architecture`; any other\nis refused by name, and so are tensors and keys that a "
    "family does not have.\n\n"
    "Each family is proved by a tiny random model of its own: the logits of hearth stay within "
    "5e-6 "
    "of their range from a\nforward pass in float64 numpy (`reference.py`), at every CPU level; "
    "answers are the same bytes for any batch, cut and\nnumber of threads. The last column is how "
    "far another engine, named in the golden, is from the same reference.\n\n"
    "| architecture | models | golden | other engine |\n|---|---|---|---|\n";

static const char encoders[] =
    "\n## Encoders\n\n"
    "They make vectors of texts, or ranks of pairs of texts, and generate nothing. Proved like the "
    "decoders: vectors within 3e-6\nof their range from "
    "`tests/golden/encoder/encoder_reference.py`, a "
    "batch the same bytes as its texts one by one.\nPooling (mean, first token, last token, "
    "classes) "
    "comes from the file; where it says nothing, it is the mean. Decoders\ncan be read the same "
    "way.\n\n"
    "| architecture | models | golden | other engine |\n|---|---|---|---|\n";

static void add_row(struct buf *page, const struct traits *traits)
{
    char path[512], file[128], line[512];
    struct err err = {0};
    size_t len = 0;
    snprintf(file, sizeof file, "%s.json", traits->proof);
    snprintf(path, sizeof path, "%s/%s", traits->is_encoder ? TEST_ENCODERS : TEST_GOLDEN, file);
    char *text = os_file_slurp(path, 16 << 20, &len, &err);
    assert_non_null(text);
    json_t *root = json_parse((struct str){text, len}, NULL, &err);
    assert_non_null(root);
    json_t *judge = json_object_get(root, "judge");
    /* A family without a second opinion is not proved. */
    assert_true(json_is_object(judge));
    snprintf(line, sizeof line, "| `%s` | %s | `%s` | %.2g |\n", traits->architecture,
             traits->models, traits->proof,
             json_number_value(json_object_get(judge, "max_error_of_range")));
    assert_true(json_number_value(json_object_get(judge, "max_error_of_range")) < 1e-5);
    buf_add_text(page, line);
    json_decref(root);
    mem_free(text);
}

static void add_rows(struct buf *page, bool are_encoders)
{
    for (size_t i = 0; model_traits_at(i); i++) {
        if (model_traits_at(i)->is_encoder == are_encoders) {
            add_row(page, model_traits_at(i));
        }
    }
}

static void test_page(void **state)
{
    static const char path[] = TEST_ROOT "/docs/models.md";
    struct err err = {0};
    struct buf page = {0};
    size_t len = 0;
    (void)state;
    buf_add_text(&page, head);
    add_rows(&page, false);
    buf_add_text(&page, encoders);
    add_rows(&page, true);
    assert_false(page.failed);
    if (getenv("HEARTH_WRITE_DOCS")) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        assert_int_equal(fwrite(page.ptr, 1, page.len, out), page.len);
        assert_int_equal(fclose(out), 0);
    }
    char *text = os_file_slurp(path, 1 << 20, &len, &err);
    assert_non_null(text);
    if (!str_eq((struct str){text, len}, (struct str){page.ptr, page.len})) {
        fail_msg("docs/models.md is not current; run this test with HEARTH_WRITE_DOCS=1");
    }
    mem_free(text);
    buf_deinit(&page);
}

/* Names are found by the whole name, and stand once. */
static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; model_traits_at(i); i++) {
        const struct traits *traits = model_traits_at(i);
        assert_ptr_equal(model_traits_find(str_of(traits->architecture)), traits);
    }
    assert_null(model_traits_find(STR("gemm")));
    assert_null(model_traits_find(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
