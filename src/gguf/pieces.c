#include "gguf/pieces.h"

#include <string.h>

#include "base/mem.h"

struct reader {
    const unsigned char *ptr;
    size_t len, at;
};

struct field {
    uint32_t number, wire;
    uint64_t value;   /* wire 0, 1 and 5 */
    struct str bytes; /* wire 2 */
};

static bool read_varint(struct reader *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->len; shift += 7) {
        unsigned char byte = r->ptr[r->at++];
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            return true;
        }
    }
    return false;
}

static bool read_fixed(struct reader *r, unsigned width, uint64_t *out)
{
    *out = 0;
    if (r->len - r->at < width) {
        return false;
    }
    for (unsigned i = 0; i < width; i++) {
        *out |= (uint64_t)r->ptr[r->at++] << (8 * i);
    }
    return true;
}

/* False at a field that is broken, or of groups, which the format no longer has. */
static bool read_field(struct reader *r, struct field *f)
{
    uint64_t tag, len;

    if (!read_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return false;
    }
    *f = (struct field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
    switch (f->wire) {
    case 0:
        return read_varint(r, &f->value);
    case 1:
        return read_fixed(r, 8, &f->value);
    case 5:
        return read_fixed(r, 4, &f->value);
    case 2:
        if (!read_varint(r, &len) || len > r->len - r->at) {
            return false;
        }
        f->bytes = (struct str){(const char *)r->ptr + r->at, (size_t)len};
        r->at += (size_t)len;
        return true;
    default:
        return false;
    }
}

static struct reader reader_of(struct str bytes)
{
    return (struct reader){(const unsigned char *)bytes.ptr, bytes.len, 0};
}

static bool read_piece(struct str bytes, struct gguf_piece *piece)
{
    struct reader r = reader_of(bytes);
    struct field f;

    *piece = (struct gguf_piece){.type = 1};
    while (r.at < r.len) {
        if (!read_field(&r, &f)) {
            return false;
        }
        if (f.number == 1 && f.wire == 2) {
            piece->text = f.bytes;
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&piece->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0) {
            piece->type = f.value >= 1 && f.value <= 6 ? (uint32_t)f.value : 0;
        }
    }
    return piece->type != 0 && piece->score == piece->score;
}

static bool read_trainer(struct gguf_pieces *p, struct str bytes)
{
    struct reader r = reader_of(bytes);
    struct field f;

    while (r.at < r.len) {
        if (!read_field(&r, &f)) {
            return false;
        }
        if (f.number == 3 && f.wire == 0) {
            p->is_unigram = f.value == 1;
        }
    }
    return true;
}

/* Counts the pieces, or reads them once there is room. */
static bool walk(struct gguf_pieces *p, struct str bytes, struct err *err)
{
    struct reader r = reader_of(bytes);
    struct field f;
    size_t count = 0;

    while (r.at < r.len) {
        size_t at = r.at;
        bool ok = read_field(&r, &f);
        if (ok && f.number == 1 && f.wire == 2) {
            ok = (!p->items || read_piece(f.bytes, &p->items[count])) && ++count <= PIECES_MAX;
        } else if (ok && f.number == 2 && f.wire == 2) {
            ok = read_trainer(p, f.bytes);
        }
        if (!ok) {
            return err_set(err, ERR_FORMAT, "tokenizer.model: broken at byte %zu", at);
        }
    }
    p->count = count;
    return true;
}

bool gguf_pieces_parse(struct gguf_pieces *p, struct str bytes, struct err *err)
{
    *p = (struct gguf_pieces){.is_unigram = true}; /* the default of the format */
    if (!walk(p, bytes, err)) {
        return false;
    }
    if (p->count == 0) {
        return err_set(err, ERR_FORMAT, "tokenizer.model: it has no pieces");
    }
    p->items = MEM_ARRAY(struct gguf_piece, p->count);
    if (!p->items) {
        return err_set_memory(err, p->count * sizeof *p->items);
    }
    if (!walk(p, bytes, err)) {
        gguf_pieces_deinit(p);
        return false;
    }
    return true;
}

void gguf_pieces_deinit(struct gguf_pieces *p)
{
    mem_free(p->items);
    *p = (struct gguf_pieces){0};
}
