/* docs/api/compatibility.md is what the tables say (run with HEARTH_WRITE_DOCS=1 to write it), and
 * every refused or limited field says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/anthropic.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/compatibility.h"

static void page_is_current(void **state)
{
    static const char path[] = TEST_ROOT "/docs/api/compatibility.md";
    struct buf page = {0};
    struct err err = {0};
    size_t len = 0;
    (void)state;
    server_compatibility_page(&page);
    assert_false(page.failed);
    if (getenv("HEARTH_WRITE_DOCS")) {
        struct os_out out;
        assert_true(os_out_open(&out, path, &err) && os_out_write(&out, page.ptr, page.len, &err) &&
                    os_out_commit(&out, &err));
    }
    char *kept = os_file_slurp(path, 1 << 20, &len, &err);
    if (!kept || len != page.len || memcmp(kept, page.ptr, len) != 0) {
        fail_msg("docs/api/compatibility.md is not current; run this test with "
                 "HEARTH_WRITE_DOCS=1");
    }
    mem_free(kept);
    buf_deinit(&page);
}

static void rows_are_whole(void **state)
{
    const struct api_field *const *const all[] = {
        api_openai_chat.tables,     api_openai_completions.tables, api_anthropic_messages.tables,
        api_anthropic_count.tables, api_ollama_generate.tables,    api_ollama_chat.tables,
        api_ollama_show_tables};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (const struct api_field *const *table = all[i]; *table; table++) {
            for (const struct api_field *field = *table; field->name; field++) {
                bool needs_note = field->kind == API_REFUSED || field->is_limited;
                bool needs_apply = field->kind == API_CUSTOM;
                if ((needs_note && !field->note) || (needs_apply && !field->apply)) {
                    fail_msg("%s lacks its note or its handler", field->name);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_current),
        cmocka_unit_test(rows_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
