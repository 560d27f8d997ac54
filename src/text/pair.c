/* Two texts as one sequence, for models that compare them.
 *
 *     WordPiece (BERT)             [CLS] a [SEP] b [SEP]
 *     RoBERTa and its kin          <s> a </s></s> b </s>       add_sep_token
 *     others                       BOS a EOS b EOS, each if the model adds it */
#include "base/mem.h"
#include "text/vocab.h"

static bool add(struct text_ids *out, text_id id, struct err *err)
{
    return id == TEXT_NONE || text_ids_add(out, id) || err_set_memory(err, sizeof id);
}

bool text_encode_pair(const struct text *text, struct str first, struct str second,
                      struct text_ids *out, size_t *second_at, struct err *err)
{
    const struct text_encode_opts plain = {0};
    const size_t before = out->count;
    const bool wraps = text->model->wraps;
    const text_id head = wraps ? text->cls : text_adds_bos(text) ? text->bos : TEXT_NONE;
    const text_id tail = wraps ? text->sep : text_adds_eos(text) ? text->eos : TEXT_NONE;
    const text_id between = wraps || !text->add_sep  ? TEXT_NONE
                            : text->sep != TEXT_NONE ? text->sep
                                                     : text->eos;
    bool ok = add(out, head, err) && text_encode(text, first, &plain, out, err) &&
              add(out, tail, err) && add(out, between, err);
    *second_at = wraps ? out->count - before : 0;
    ok = ok && text_encode(text, second, &plain, out, err) && add(out, tail, err);
    if (!ok) {
        out->count = before;
    }
    return ok;
}
