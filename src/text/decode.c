/* Ids to text, at once and as a stream. */
#include <string.h>

#include "base/utf8.h"
#include "text/vocab.h"

/* The piece as it stands at this place. A space that encoding put in front is taken away again: at
 * the start of a text, and behind a user-defined token, where encoding starts anew as well. */
static struct str piece_at(const struct text *text, text_id id, bool special, bool *at_start)
{
    struct str piece = text_piece(text, id, special);
    if (piece.len == 0) {
        return piece;
    }
    if (*at_start && text->add_space_prefix && piece.ptr[0] == ' ' &&
        text->kinds[id] != TEXT_USER_DEFINED) {
        piece = str_slice(piece, 1, piece.len);
    }
    *at_start = text->kinds[id] == TEXT_USER_DEFINED;
    return piece;
}

void text_decode(const struct text *text, const text_id *ids, size_t count, bool special,
                 bool at_start, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_add(out, piece_at(text, ids[i], special, &at_start));
    }
}

void text_stream_init(struct text_stream *stream, const struct text *text, bool special,
                      bool at_start)
{
    *stream = (struct text_stream){.text = text, .special = special, .at_start = at_start};
}

void text_stream_feed(struct text_stream *stream, text_id id, struct buf *out)
{
    const struct str piece = piece_at(stream->text, id, stream->special, &stream->at_start);
    if (piece.len == 0) {
        return;
    }
    const size_t start = out->len;
    buf_add(out, (struct str){.ptr = stream->held, .len = stream->held_len});
    buf_add(out, piece);
    if (out->failed) {
        return;
    }
    stream->held_len = utf8_incomplete_tail(str_slice(buf_view(out), start, out->len));
    memcpy(stream->held, out->ptr + out->len - stream->held_len, stream->held_len);
    out->len -= stream->held_len;
    out->ptr[out->len] = '\0';
}

void text_stream_end(struct text_stream *stream, struct buf *out)
{
    buf_add(out, (struct str){.ptr = stream->held, .len = stream->held_len});
    stream->held_len = 0;
}
