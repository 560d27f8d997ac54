/* multipart/form-data as RFC 7578 and RFC 2046 have it:
 *
 *     --BOUNDARY CRLF  headers CRLF CRLF  content CRLF  --BOUNDARY ... --BOUNDARY--
 *
 * Of the headers only Content-Disposition counts, with name and filename as quoted strings. Content
 * is taken as it stands; a transfer encoding is refused. */
#include "api/files.h"

enum { BOUNDARY_MAX = 70 }; /* of RFC 2046 */

static bool malformed(const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "the multipart body is malformed: %s", why);
}

/* The value of NAME=... or NAME="..." among parameters after ';'. */
static bool find_parameter(struct str header, const char *name, struct str *out)
{
    str_cut(&header, ';');
    while (header.len) {
        header = str_trim(header);
        size_t equals = str_find(header, STR("="), 0);
        struct str key = str_slice(header, 0, equals);
        header = str_slice(header, equals == SIZE_MAX ? header.len : equals + 1, header.len);
        struct str value;
        if (str_eat(&header, STR("\""))) {
            size_t end = str_find(header, STR("\""), 0);
            value = str_slice(header, 0, end);
            header = str_slice(header, end == SIZE_MAX ? header.len : end + 1, header.len);
            str_cut(&header, ';');
        } else {
            value = str_trim(str_cut(&header, ';'));
        }
        if (str_eq_nocase(str_trim(key), str_of(name))) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool read_head(struct str head, struct api_part_field *part, struct err *err)
{
    bool has_name = false;
    while (head.len) {
        size_t end = str_find(head, STR("\r\n"), 0);
        struct str line = str_slice(head, 0, end);
        head = str_slice(head, end == SIZE_MAX ? head.len : end + 2, head.len);
        struct str value = line;
        struct str name = str_trim(str_cut(&value, ':'));
        if (str_eq_nocase(name, STR("Content-Disposition"))) {
            has_name = find_parameter(value, "name", &part->name);
            find_parameter(value, "filename", &part->file_name);
        }
        if (str_eq_nocase(name, STR("Content-Transfer-Encoding")) &&
            !str_eq_nocase(str_trim(value), STR("binary")) &&
            !str_eq_nocase(str_trim(value), STR("8bit"))) {
            return malformed("a transfer encoding is not supported", err);
        }
    }
    return has_name || malformed("a part has no name", err);
}

static bool find_boundary(struct str content_type, struct buf *out, struct err *err)
{
    struct str boundary = {0};
    struct str media = content_type;
    if (!str_eq_nocase(str_trim(str_cut(&media, ';')), STR("multipart/form-data"))) {
        return err_set(err, ERR_MEDIA, "the body must be sent as multipart/form-data");
    }
    if (!find_parameter(content_type, "boundary", &boundary) || boundary.len == 0 ||
        boundary.len > BOUNDARY_MAX) {
        return malformed("no boundary of 1 to 70 characters is given", err);
    }
    buf_add_text(out, "\r\n--");
    buf_add(out, boundary);
    return !out->failed || err_set_memory(err, boundary.len);
}

bool api_multipart_read(struct str content_type, struct str body, struct api_part_field *parts,
                        size_t parts_max, size_t *count, struct err *err)
{
    struct buf mark = {0};
    *count = 0;
    bool ok = find_boundary(content_type, &mark, err);
    struct str border = buf_view(&mark); /* with its CRLF; the first one has none before it */
    ok = ok && (str_eat(&body, str_slice(border, 2, border.len)) ||
                malformed("it does not begin with its boundary", err));
    while (ok && !str_eat(&body, STR("--"))) {
        size_t head_end = str_find(body, STR("\r\n\r\n"), 0);
        size_t end = head_end == SIZE_MAX ? SIZE_MAX : str_find(body, border, head_end + 2);
        if (!str_starts(body, STR("\r\n")) || end == SIZE_MAX) {
            ok = malformed("a part has no end", err);
            break;
        }
        if (*count == parts_max) {
            ok = malformed("too many parts", err);
            break;
        }
        struct api_part_field *part = &parts[(*count)++];
        *part = (struct api_part_field){.content = str_slice(body, head_end + 4, end)};
        ok = read_head(str_slice(body, 2, head_end), part, err);
        body = str_slice(body, end + border.len, body.len);
    }
    buf_deinit(&mark);
    return ok;
}
