/* States of a connection:
 *
 *           .-----------------------------------------------------------.
 *           v                                                           |
 *      IN_HEAD --Content-Length n--> IN_LENGTH --n bytes-------------->-+
 *         |  \--chunked--> CHUNK_SIZE --size > 0--> CHUNK --> CHUNK_END |
 *         |                    |  ^----------------------------'        |
 *         |                    '--size 0--> TRAILER --empty line------>-'
 *         '--no body--> IN_HEAD
 *
 * Any violation, anywhere --> IN_REFUSAL, which is final. A head is held back until it is complete
 * and checked; bodies stream through. Chunk extensions and trailers mean nothing to hearth and are
 * dropped, so what comes out has one spelling. */
#include "server/guard.h"

#include <stdio.h>

enum { CHUNK_LINE_MAX = 512, TRAILER_BYTES_MAX = 8 << 10 };

void server_guard_deinit(struct server_guard *guard)
{
    buf_deinit(&guard->line);
}

static bool refuse(struct server_guard *guard, int status, const char *reason)
{
    guard->refused_in = guard->state;
    guard->state = GUARD_IN_REFUSAL;
    guard->status = status;
    guard->reason = reason;
    return false;
}

/* ---- the head ---- */

static bool is_token(struct str s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  (c && strchr(marks, c));
        if (!ok) {
            return false;
        }
    }
    return s.len > 0;
}

static bool check_request_line(struct server_guard *guard, struct str line, bool *is_old)
{
    struct str method = str_cut(&line, ' ');
    struct str target = str_cut(&line, ' ');
    if (!is_token(method) || method.len > 32) {
        return refuse(guard, 400, "the request line has no method");
    }
    if (target.len > SERVER_TARGET_BYTES_MAX) {
        return refuse(guard, 414, "the request target is too long");
    }
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] <= 0x20 || target.ptr[i] >= 0x7f) {
            return refuse(guard, 400, "the request target holds a forbidden character");
        }
    }
    if (target.len == 0 || (target.ptr[0] != '/' && !str_eq(target, STR("*")))) {
        return refuse(guard, 400, "the request target must be a path");
    }
    *is_old = str_eq(line, STR("HTTP/1.0"));
    if (!*is_old && !str_eq(line, STR("HTTP/1.1"))) {
        bool other = str_starts(line, STR("HTTP/"));
        return refuse(guard, other ? 505 : 400,
                      other ? "only HTTP/1.0 and HTTP/1.1 are spoken"
                            : "the request line names no HTTP version");
    }
    return true;
}

/* Headers that decide framing or access: a second one would make two readers disagree. */
enum single { HOST, LENGTH, CODING, EXPECT, AUTHORIZATION, TYPE, ORIGIN, SINGLE_COUNT };
static const char *const single_names[SINGLE_COUNT] = {
    "host",         "content-length", "transfer-encoding", "expect", "authorization",
    "content-type", "origin"};

struct head {
    bool is_old, seen[SINGLE_COUNT];
    struct str value[SINGLE_COUNT];
};

static bool check_header(struct server_guard *guard, struct str line, struct head *head)
{
    struct str value = line;
    struct str name = str_cut(&value, ':');
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t') {
        return refuse(guard, 400, "a header is folded over two lines");
    }
    if (name.len == line.len || !is_token(name)) {
        return refuse(guard, 400, "a header name holds a forbidden character");
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return refuse(guard, 400, "a header value holds a control character");
        }
    }
    for (int i = 0; i < SINGLE_COUNT; i++) {
        if (!str_eq_nocase(name, str_of(single_names[i]))) {
            continue;
        }
        if (head->seen[i]) {
            return refuse(guard, 400, "a header that may stand once stands twice");
        }
        head->seen[i] = true;
        head->value[i] = str_trim(value);
    }
    return true;
}

static bool check_framing(struct server_guard *guard, const struct head *head)
{
    uint64_t length = 0;
    if (!head->is_old && !head->seen[HOST]) {
        return refuse(guard, 400, "the Host header is missing");
    }
    if (head->seen[LENGTH] &&
        (head->value[LENGTH].len > 18 || !str_to_u64(head->value[LENGTH], &length))) {
        return refuse(guard, 400, "Content-Length is not a number of bytes");
    }
    if (head->seen[CODING]) {
        if (head->seen[LENGTH]) {
            return refuse(guard, 400, "Content-Length and Transfer-Encoding stand together");
        }
        if (head->is_old) {
            return refuse(guard, 400, "HTTP/1.0 knows no Transfer-Encoding");
        }
        if (!str_eq_nocase(head->value[CODING], STR("chunked"))) {
            return refuse(guard, 501, "the only Transfer-Encoding is chunked");
        }
    }
    if (head->seen[EXPECT] && !str_eq_nocase(head->value[EXPECT], STR("100-continue"))) {
        return refuse(guard, 417, "the only expectation is 100-continue");
    }
    guard->left = length;
    guard->trailer_bytes = 0;
    guard->state = head->seen[CODING] ? GUARD_IN_CHUNK_SIZE
                   : length > 0       ? GUARD_IN_LENGTH
                                      : GUARD_IN_HEAD;
    return true;
}

static bool check_head(struct server_guard *guard, struct buf *out)
{
    struct str rest = str_slice(buf_view(&guard->line), 0, guard->line.len - 2);
    struct head head = {0};
    size_t count = 0;
    bool is_first = true;
    while (rest.len > 0) {
        struct str line = str_cut(&rest, '\n');
        line.len--; /* the CR; a bare LF did not come this far */
        if (is_first && !check_request_line(guard, line, &head.is_old)) {
            return false;
        }
        if (!is_first && ++count > SERVER_HEADERS_MAX) {
            return refuse(guard, 431, "there are too many headers");
        }
        if (!is_first && !check_header(guard, line, &head)) {
            return false;
        }
        is_first = false;
    }
    if (!check_framing(guard, &head)) {
        return false;
    }
    guard->requests++;
    buf_add(out, buf_view(&guard->line));
    buf_clear(&guard->line);
    return true;
}

/* One byte of a head. Empty lines before a request are skipped, as RFC 9112 2.2 advises. */
static bool feed_head(struct server_guard *guard, char c, struct buf *out)
{
    struct buf *line = &guard->line;
    bool after_cr = line->len > 0 && line->ptr[line->len - 1] == '\r';
    if (c == 0) {
        return refuse(guard, 400, "the request head holds a NUL");
    }
    if ((c == '\n') != after_cr) {
        return refuse(guard, 400, "a line of the request head does not end in CR LF");
    }
    buf_add_char(line, c);
    if (line->len == 2 && c == '\n') {
        buf_clear(line);
        return true;
    }
    if (line->len >= SERVER_HEAD_BYTES_MAX || line->failed) {
        return refuse(guard, 431, "the request head is too large");
    }
    if (c == '\n' && line->len >= 4 && memcmp(line->ptr + line->len - 4, "\r\n\r\n", 4) == 0) {
        return check_head(guard, out);
    }
    return true;
}

/* ---- chunks ---- */

static bool chunk_size(struct str line, uint64_t *size)
{
    struct str digits = str_cut(&line, ';'); /* extensions are dropped */
    while (digits.len &&
           (digits.ptr[digits.len - 1] == ' ' || digits.ptr[digits.len - 1] == '\t')) {
        digits.len--;
    }
    *size = 0;
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.ptr[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return false;
        }
        *size = *size << 4 | (unsigned)digit;
    }
    return digits.len > 0 && digits.len <= 12;
}

/* One byte of a line of the chunked coding; the line is handled when it is complete. */
static bool feed_line(struct server_guard *guard, char c, struct buf *out)
{
    struct buf *line = &guard->line;
    bool after_cr = line->len > 0 && line->ptr[line->len - 1] == '\r';
    if ((c == '\n') != after_cr || c == 0) {
        return refuse(guard, 400, "a line of the chunked body is malformed");
    }
    buf_add_char(line, c);
    guard->trailer_bytes += guard->state == GUARD_IN_TRAILER;
    if (line->len > CHUNK_LINE_MAX || guard->trailer_bytes > TRAILER_BYTES_MAX || line->failed) {
        return refuse(guard, 400, "a line of the chunked body is too long");
    }
    if (c != '\n') {
        return true;
    }
    struct str text = str_slice(buf_view(line), 0, line->len - 2);
    if (guard->state == GUARD_IN_CHUNK_SIZE) {
        if (!chunk_size(text, &guard->left)) {
            return refuse(guard, 400, "the size of a chunk is malformed");
        }
        buf_add_format(out, "%llx\r\n", (unsigned long long)guard->left);
        guard->state = guard->left > 0 ? GUARD_IN_CHUNK : GUARD_IN_TRAILER;
    } else if (guard->state == GUARD_IN_CHUNK_END) {
        if (text.len > 0) {
            return refuse(guard, 400, "a chunk is longer than its size");
        }
        buf_add_text(out, "\r\n");
        guard->state = GUARD_IN_CHUNK_SIZE;
    } else if (text.len == 0) {
        buf_add_text(out, "\r\n");
        guard->state = GUARD_IN_HEAD;
    }
    buf_clear(line);
    return true;
}

static size_t feed_body(struct server_guard *guard, struct str bytes, struct buf *out)
{
    size_t count = guard->left < bytes.len ? (size_t)guard->left : bytes.len;
    buf_add(out, str_slice(bytes, 0, count));
    guard->left -= count;
    if (guard->left == 0) {
        guard->state = guard->state == GUARD_IN_LENGTH ? GUARD_IN_HEAD : GUARD_IN_CHUNK_END;
    }
    return count;
}

/* What the parser behind reads instead: a request of its own for a bad head, the regular end of the
 * body for a bad chunk (the answer to that request is then the refusal). */
static void announce(struct server_guard *guard, struct buf *out)
{
    switch (guard->refused_in) {
    case GUARD_IN_CHUNK_END:
        buf_add_text(out, "\r\n0\r\n\r\n");
        break;
    case GUARD_IN_CHUNK_SIZE:
        buf_add_text(out, "0\r\n\r\n");
        break;
    case GUARD_IN_TRAILER:
        buf_add_text(out, "\r\n");
        break;
    default:
        guard->requests++;
        buf_add_text(out, "GET " SERVER_GUARD_PATH " HTTP/1.1\r\nHost: localhost\r\n"
                          "Connection: close\r\n\r\n");
        break;
    }
    buf_deinit(&guard->line);
    guard->is_announced = true;
}

void server_guard_feed(struct server_guard *guard, struct str bytes, struct buf *out)
{
    size_t at = 0;
    bool fine = guard->state != GUARD_IN_REFUSAL;
    while (fine && at < bytes.len) {
        switch (guard->state) {
        case GUARD_IN_HEAD:
            fine = feed_head(guard, bytes.ptr[at++], out);
            break;
        case GUARD_IN_CHUNK_SIZE:
        case GUARD_IN_CHUNK_END:
        case GUARD_IN_TRAILER:
            fine = feed_line(guard, bytes.ptr[at++], out);
            break;
        case GUARD_IN_LENGTH:
        case GUARD_IN_CHUNK:
            at += feed_body(guard, str_slice(bytes, at, bytes.len), out);
            break;
        case GUARD_IN_REFUSAL:
            fine = false;
            break;
        }
    }
    if (guard->state == GUARD_IN_REFUSAL && !guard->is_announced) {
        announce(guard, out);
    }
}

enum server_guard_phase server_guard_phase(const struct server_guard *guard)
{
    switch (guard->state) {
    case GUARD_IN_HEAD:
        return guard->line.len ? SERVER_GUARD_HEAD : SERVER_GUARD_IDLE;
    case GUARD_IN_REFUSAL:
        return SERVER_GUARD_REFUSED;
    default:
        return SERVER_GUARD_BODY;
    }
}
