/* The frames of GET /v1/chat/stream: many chat requests on one WebSocket, told apart by ids that
 * the client chooses. Every frame is one text message with one JSON object.
 *
 *     client   {"type":"request","id":"a","body":{ a body of /v1/chat/completions }}
 *              {"type":"cancel","id":"a"}
 *     server   {"type":"queued","id":"a","ahead":3,"eta_s":2}           only when it waits for long
 *              {"type":"token","id":"a","index":0,"text":"...","logprobs":[...]}
 *              {"type":"reasoning","id":"a","index":0,"text":"..."}
 *              {"type":"tool","id":"a","index":0,"call":0,"call_id":"...","name":"..."}
 *              {"type":"tool","id":"a","index":0,"call":0,"arguments":"..."}     any number of
 * pieces
 *              {"type":"tool","id":"a","index":0,"call":0,"end":true}
 *              {"type":"done","id":"a","model":...,"choices":[{"index":0,"finish_reason":...}],
 *               "usage":{...}}          or, with "stream":false, "answer":{ a chat.completion }
 *              {"type":"cancelled","id":"a"}
 *              {"type":"error","id":"a","status":400,"error":{ as over HTTP }}
 *
 * A request ends with exactly one frame done, cancelled or error; then its id may be used again. An
 * error with the id null is about a message whose id could not be read.
 *
 * Reading takes the envelope apart without parsing the body, which may have megabytes: the thread
 * that reads messages stays quick, and the body is parsed once, where other bodies are. */
#ifndef API_FRAMES_H
#define API_FRAMES_H

#include <stdbool.h>

#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { API_FRAME_ID_MAX = 64 };

struct api_frame {
    enum api_frame_kind { API_FRAME_REQUEST, API_FRAME_CANCEL } kind;
    struct str id;   /* 1..64 of A-Z a-z 0-9 - _ . : */
    struct str body; /* of a request: JSON text, not parsed yet */
};

/* Borrows from `text`. Errors are of the OpenAI dialect and name the member; out->id is set even
 * then if the id could be read. */
bool api_frame_read(struct str text, struct api_frame *out, struct err *err);

/* Chat completions as frames. Its parse takes the whole message of a request; what it renders are
 * lines, each one message without its line end. "stream" is true unless the body says otherwise. */
extern const struct api_dialect api_frames_chat;

/* One line each; an empty id is told as null. */
void api_frame_error(struct str id, const struct err *failure, struct buf *out);
void api_frame_cancelled(struct str id, struct buf *out);

#endif
