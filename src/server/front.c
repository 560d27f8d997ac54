/* A connection in the front:
 *
 *     socket --read--> guard --> `in`  --write--> pair --> libmicrohttpd
 *     socket <-write-- `out` <--read-- pair
 *
 * Each direction holds at most one read's worth; while that cannot be written on, nothing more is
 * read, so a slow side slows the other one and memory per connection is bounded.
 *
 * Ends, in the order of their harm:
 *     broken        the socket is reset: both sides are closed at once.
 *     client left   end of input. A request that generates is cancelled (we cannot tell a client
 * that only half-closed from one that closed, and nginx draws the same line); other answers still
 * go out, then libmicrohttpd sees the end of input and closes. answered      libmicrohttpd closes
 * its end. What it wrote is sent, then our half is closed and input is discarded for a moment:
 * closing at once with unread input would reset the connection and could destroy the answer on its
 * way (a 413, say).
 *
 * Deadlines are computed per connection from what it is waiting for; the thread sleeps until the
 * nearest one, so without connections it sleeps for good. */
#include "server/front.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"
#include "server/guard.h"
#include "server/poller.h"

#ifndef MSG_NOSIGNAL /* macOS; SIGPIPE is ignored by main as well */
#define MSG_NOSIGNAL 0
#endif

enum { IO_BYTES = 32 << 10, EVENTS_MAX = 64, LISTENS_MAX = 16, BACKLOG = 1024 };
enum { BODY_BYTES_PER_S = 16 << 10 };
static const int64_t second_ns = 1000000000, linger_ns = 2000000000, accept_pause_ns = 100000000,
                     drain_idle_ns = 200000000; /* the end of an answer may still be in the pair */

enum end_kind { END_CLIENT, END_PAIR, END_LISTEN, END_WAKE };

/* What a poll event points to. */
struct end {
    enum end_kind kind;
    int fd;
    unsigned watched;
    struct server_conn *conn;
};

struct server_conn {
    atomic_int refs;
    /* front thread only */
    struct end client, pair;
    int mhd_fd; /* key in the front's table; libmicrohttpd owns the descriptor */
    struct server_tls_conn *tls;
    bool tls_wants_write;
    struct server_guard guard;
    struct buf in, out;
    size_t in_at, out_at;
    uint64_t body_bytes;
    bool client_ended, pair_ended, pair_shut, pair_unwatched, lingering, peer_left;
    int64_t phase_ns; /* since when in this phase */
    int64_t moved_ns; /* last bytes in either direction */
    int64_t wrote_ns; /* last bytes that the client took, or `out` became full */
    int64_t deadline_ns;
    enum server_guard_phase phase;
    struct server_conn *next, *prev;
    bool is_dead, is_raw; /* raw: the guard has nothing more to read */
    atomic_bool upgraded;
    /* under lock */
    pthread_mutex_t lock;
    void *exchange;
    bool left;
    uint32_t begun, ended;
    uint32_t refused_request;
    int refused_status;
    const char *refused_reason;
};

struct server_front {
    struct server_front_params params;
    struct end listens[LISTENS_MAX];
    struct server_address bound[LISTENS_MAX];
    struct end wake;
    int wake_write;
    int poller;
    pthread_t thread;
    bool has_thread;
    atomic_bool draining, stopping;
    atomic_uint_fast64_t accepted, refused, open;
    /* front thread only */
    struct server_conn *conns; /* newest first */
    struct server_conn *dead;  /* to be released after the events of this round */
    int64_t next_sweep_ns, accept_again_ns;
    unsigned char bytes[IO_BYTES];
    /* connections by libmicrohttpd's descriptor, under table_lock */
    pthread_mutex_t table_lock;
    struct server_conn **table;
    size_t table_cap;
};

/* ---- shared with libmicrohttpd's thread ---- */

void server_conn_release(struct server_conn *conn)
{
    if (conn && atomic_fetch_sub(&conn->refs, 1) == 1) {
        server_guard_deinit(&conn->guard);
        buf_deinit(&conn->in);
        buf_deinit(&conn->out);
        pthread_mutex_destroy(&conn->lock);
        mem_free(conn);
    }
}

struct server_conn *server_conn_take(struct server_front *front, int fd)
{
    struct server_conn *conn = NULL;
    pthread_mutex_lock(&front->table_lock);
    if (fd >= 0 && (size_t)fd < front->table_cap && front->table[fd]) {
        conn = front->table[fd];
        atomic_fetch_add(&conn->refs, 1);
    }
    pthread_mutex_unlock(&front->table_lock);
    return conn;
}

uint32_t server_conn_begin(struct server_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    uint32_t number = ++conn->begun;
    pthread_mutex_unlock(&conn->lock);
    return number;
}

bool server_conn_watch(struct server_conn *conn, void *exchange)
{
    pthread_mutex_lock(&conn->lock);
    bool is_here = !conn->left;
    conn->exchange = is_here ? exchange : NULL;
    pthread_mutex_unlock(&conn->lock);
    return is_here;
}

void server_conn_upgrade(struct server_conn *conn)
{
    atomic_store(&conn->upgraded, true);
}

void server_conn_end(struct server_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->exchange = NULL;
    conn->ended = conn->begun;
    pthread_mutex_unlock(&conn->lock);
}

bool server_conn_refusal(struct server_conn *conn, uint32_t number, int *status,
                         const char **reason)
{
    pthread_mutex_lock(&conn->lock);
    bool is_refused = conn->refused_status && conn->refused_request == number;
    *status = conn->refused_status;
    *reason = conn->refused_reason;
    pthread_mutex_unlock(&conn->lock);
    return is_refused;
}

static bool table_set(struct server_front *front, int fd, struct server_conn *conn)
{
    bool ok = true;
    pthread_mutex_lock(&front->table_lock);
    if ((size_t)fd >= front->table_cap) {
        size_t cap = size_max((size_t)fd + 1, front->table_cap * 2);
        struct server_conn **grown = mem_resize(front->table, cap, sizeof *grown);
        if (grown) {
            memset(grown + front->table_cap, 0, (cap - front->table_cap) * sizeof *grown);
            front->table = grown;
            front->table_cap = cap;
        }
        ok = grown != NULL;
    }
    if (ok) {
        front->table[fd] = conn;
    }
    pthread_mutex_unlock(&front->table_lock);
    return ok;
}

/* ---- ends of a connection (front thread from here on) ---- */

static void client_left(struct server_front *front, struct server_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    void *exchange = conn->exchange;
    conn->left = true;
    conn->exchange = NULL;
    if (exchange) {
        front->params.left(front->params.arg, exchange);
    }
    pthread_mutex_unlock(&conn->lock);
}

static void conn_close(struct server_front *front, struct server_conn *conn)
{
    if (conn->is_dead) {
        return;
    }
    conn->is_dead = true;
    client_left(front, conn);
    pthread_mutex_lock(&front->table_lock);
    if (front->table[conn->mhd_fd] == conn) {
        front->table[conn->mhd_fd] = NULL;
    }
    pthread_mutex_unlock(&front->table_lock);
    server_poller_remove(front->poller, conn->client.fd);
    if (!conn->pair_unwatched) {
        server_poller_remove(front->poller, conn->pair.fd);
    }
    server_tls_close(conn->tls);
    close(conn->client.fd);
    close(conn->pair.fd);
    if (conn->prev) {
        conn->prev->next = conn->next;
    } else {
        front->conns = conn->next;
    }
    if (conn->next) {
        conn->next->prev = conn->prev;
    }
    conn->next = front->dead;
    front->dead = conn;
    atomic_fetch_sub(&front->open, 1);
}

static void release_dead(struct server_front *front)
{
    while (front->dead) {
        struct server_conn *conn = front->dead;
        front->dead = conn->next;
        server_conn_release(conn);
    }
}

/* > 0 bytes, 0 the peer ended, -1 nothing now, -2 broken. */
static ssize_t socket_result(ssize_t n)
{
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? -1 : -2;
}

static ssize_t client_read(struct server_front *front, struct server_conn *conn)
{
    if (conn->tls) {
        return server_tls_read(conn->tls, front->bytes, IO_BYTES, &conn->tls_wants_write);
    }
    return socket_result(recv(conn->client.fd, front->bytes, IO_BYTES, 0));
}

static ssize_t client_write(struct server_conn *conn, const char *bytes, size_t len)
{
    if (conn->tls) {
        return server_tls_write(conn->tls, bytes, len, &conn->tls_wants_write);
    }
    return socket_result(send(conn->client.fd, bytes, len, MSG_NOSIGNAL));
}

/* Writes what waits in `b`; false when the other side is broken. */
static bool flush_in(struct server_conn *conn)
{
    while (conn->in_at < conn->in.len) {
        ssize_t n = socket_result(send(conn->pair.fd, conn->in.ptr + conn->in_at,
                                       conn->in.len - conn->in_at, MSG_NOSIGNAL));
        if (n <= 0) {
            /* libmicrohttpd closed its end: its answer may still wait in the pair. */
            if (n == -2) {
                buf_clear(&conn->in);
                conn->in_at = 0;
            }
            return n == -1;
        }
        conn->in_at += (size_t)n;
    }
    buf_clear(&conn->in);
    conn->in_at = 0;
    return true;
}

static bool flush_out(struct server_conn *conn)
{
    while (conn->out_at < conn->out.len) {
        ssize_t n = client_write(conn, conn->out.ptr + conn->out_at, conn->out.len - conn->out_at);
        if (n == -1) {
            return true;
        }
        if (n <= 0) {
            return false;
        }
        conn->out_at += (size_t)n;
        conn->wrote_ns = conn->moved_ns = clock_now_ns();
    }
    buf_clear(&conn->out);
    conn->out_at = 0;
    return true;
}

/* Publishes a refusal before the bytes that announce it reach libmicrohttpd. */
static void publish_refusal(struct server_conn *conn)
{
    if (conn->guard.status && !conn->refused_status) {
        pthread_mutex_lock(&conn->lock);
        conn->refused_request = conn->guard.requests;
        conn->refused_reason = conn->guard.reason;
        conn->refused_status = conn->guard.status;
        pthread_mutex_unlock(&conn->lock);
    }
}

/* Bytes of the client, read as HTTP or passed as they are. False when a client did not wait for the
 * answer to its upgrade (RFC 6455, 4.1): what it sent was read as a request. */
static bool take_bytes(struct server_conn *conn, struct str bytes)
{
    if (!conn->is_raw && atomic_load(&conn->upgraded)) {
        conn->is_raw = true;
        if (server_guard_phase(&conn->guard) != SERVER_GUARD_IDLE) {
            return false;
        }
    }
    if (conn->is_raw) {
        buf_add(&conn->in, bytes);
        return true;
    }
    conn->body_bytes += bytes.len;
    server_guard_feed(&conn->guard, bytes, &conn->in);
    publish_refusal(conn);
    return true;
}

/* client -> libmicrohttpd; false when the connection is to be closed. */
static bool pump_in(struct server_front *front, struct server_conn *conn)
{
    /* A few reads, then others have their turn; but what OpenSSL holds decrypted wakes nobody. */
    for (int rounds = 0; rounds < 8 || conn->tls; rounds++) {
        if (!conn->lingering && !flush_in(conn) && conn->in_at < conn->in.len) {
            return false;
        }
        if (conn->in.len > 0 || conn->client_ended) {
            break;
        }
        ssize_t n = client_read(front, conn);
        if (n == -2) {
            return false;
        }
        if (n == -1) {
            break;
        }
        if (n == 0) {
            conn->client_ended = true;
            break;
        }
        conn->moved_ns = clock_now_ns();
        if (conn->lingering) {
            continue; /* discarded */
        }
        if (!take_bytes(conn, (struct str){(char *)front->bytes, (size_t)n}) || conn->in.failed) {
            return false;
        }
    }
    if (conn->client_ended && !conn->pair_shut && conn->in.len == 0) {
        client_left(front, conn);
        shutdown(conn->pair.fd, SHUT_WR);
        conn->pair_shut = true;
    }
    return true;
}

/* libmicrohttpd -> client; false when the connection is to be closed. */
static bool pump_out(struct server_front *front, struct server_conn *conn)
{
    for (int rounds = 0; rounds < 8 || conn->pair_unwatched; rounds++) {
        if (!flush_out(conn)) {
            return false;
        }
        if (conn->out.len > 0 || conn->pair_ended) {
            break;
        }
        ssize_t n = socket_result(recv(conn->pair.fd, front->bytes, IO_BYTES, 0));
        if (n == -1) {
            break;
        }
        if (n <= 0) {
            conn->pair_ended = true;
            break;
        }
        buf_add(&conn->out, (struct str){(char *)front->bytes, (size_t)n});
        conn->wrote_ns = conn->moved_ns = clock_now_ns();
        if (conn->out.failed) {
            return false;
        }
    }
    if (conn->pair_ended && conn->out.len == 0 && !conn->lingering) {
        conn->lingering = true;
        conn->phase_ns = clock_now_ns();
        buf_clear(&conn->in);
        conn->in_at = 0;
        if (conn->tls) {
            server_tls_close(conn->tls); /* close_notify */
            conn->tls = NULL;
        }
        shutdown(conn->client.fd, SHUT_WR);
    }
    return !(conn->lingering && conn->client_ended);
}

/* ---- deadlines ---- */

static int64_t ns_of(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

static bool is_waiting_for_answer(struct server_conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    bool waits = conn->ended < conn->guard.requests;
    pthread_mutex_unlock(&conn->lock);
    return waits;
}

/* Requests answered of those before the one that is being received. */
static bool is_turn_of_client(struct server_conn *conn)
{
    uint32_t earlier = conn->guard.requests;
    if (conn->phase == SERVER_GUARD_BODY && earlier > 0) {
        earlier--;
    }
    pthread_mutex_lock(&conn->lock);
    bool is_turn = conn->ended >= earlier;
    pthread_mutex_unlock(&conn->lock);
    return is_turn;
}

/* When this connection is to be closed unless something happens; INT64_MAX for never. *recheck is
 * set where only time will tell. */
static int64_t deadline_of(const struct server_front *front, struct server_conn *conn,
                           bool *recheck)
{
    const struct server_front_params *params = &front->params;
    *recheck = false;
    if (conn->lingering) {
        return conn->phase_ns + linger_ns;
    }
    if (conn->out.len > 0) {
        return conn->wrote_ns + ns_of(params->write_timeout_s);
    }
    if (atomic_load(&conn->upgraded)) {
        /* Whoever speaks the other protocol sees to it; but the guard must not hold bytes of it. */
        return conn->is_raw || conn->phase == SERVER_GUARD_IDLE ? INT64_MAX : 0;
    }
    if (conn->phase == SERVER_GUARD_HEAD || conn->phase == SERVER_GUARD_BODY) {
        if (!is_turn_of_client(conn)) {
            conn->phase_ns = clock_now_ns();
            *recheck = true;
        }
        if (conn->phase == SERVER_GUARD_HEAD) {
            return conn->phase_ns + ns_of(params->header_timeout_s);
        }
        return conn->phase_ns + ns_of(params->body_timeout_s) +
               (int64_t)(conn->body_bytes / BODY_BYTES_PER_S) * second_ns;
    }
    int64_t now = clock_now_ns();
    if (is_waiting_for_answer(conn)) {
        *recheck = true;
        conn->moved_ns = now;
        return now + ns_of(params->idle_timeout_s);
    }
    if (atomic_load(&front->draining)) {
        return conn->moved_ns + drain_idle_ns;
    }
    if (conn->guard.requests == 0) { /* never asked anything */
        return conn->phase_ns + ns_of(params->header_timeout_s);
    }
    return conn->moved_ns + ns_of(params->idle_timeout_s);
}

static void note_deadline(struct server_front *front, struct server_conn *conn)
{
    bool recheck;
    enum server_guard_phase phase = server_guard_phase(&conn->guard);
    if (phase != conn->phase) {
        conn->phase = phase;
        conn->phase_ns = clock_now_ns();
        conn->body_bytes = 0;
    }
    conn->deadline_ns = deadline_of(front, conn, &recheck);
    if (conn->deadline_ns < front->next_sweep_ns) {
        front->next_sweep_ns = conn->deadline_ns;
    }
}

static void sweep(struct server_front *front)
{
    int64_t now = clock_now_ns();
    if (now < front->next_sweep_ns && !atomic_load(&front->draining)) {
        return;
    }
    front->next_sweep_ns = INT64_MAX;
    struct server_conn *next;
    for (struct server_conn *conn = front->conns; conn; conn = next) {
        bool recheck;
        next = conn->next;
        conn->deadline_ns = deadline_of(front, conn, &recheck);
        if (!recheck && conn->deadline_ns <= now) {
            conn_close(front, conn);
        } else if (conn->deadline_ns < front->next_sweep_ns) {
            front->next_sweep_ns = conn->deadline_ns;
        }
    }
    if (front->accept_again_ns && front->accept_again_ns < front->next_sweep_ns) {
        front->next_sweep_ns = front->accept_again_ns;
    }
}

/* ---- events ---- */

static void watch(struct server_front *front, struct end *end, unsigned what)
{
    if (what != end->watched) {
        server_poller_change(front->poller, end->fd, end->watched, what, end);
        end->watched = what;
    }
}

static void conn_run(struct server_front *front, struct server_conn *conn, unsigned client_what)
{
    conn->tls_wants_write = false;
    if (client_what & SERVER_PEER_LEFT) {
        conn->peer_left = true; /* perhaps behind bytes that wait to be read */
        pthread_mutex_lock(&conn->lock);
        bool generates = conn->exchange != NULL;
        pthread_mutex_unlock(&conn->lock);
        if (generates) {
            client_left(front, conn);
        }
    }
    bool ok = !(client_what & SERVER_IS_BROKEN) && pump_in(front, conn) && pump_out(front, conn);
    if (!ok) {
        conn_close(front, conn);
        return;
    }
    bool reads = !conn->client_ended && conn->in.len == 0;
    watch(front, &conn->client,
          (reads ? SERVER_CAN_READ : 0u) |
              (conn->out.len > 0 || conn->tls_wants_write ? SERVER_CAN_WRITE : 0u) |
              (conn->peer_left || conn->client_ended ? 0u : SERVER_PEER_LEFT));
    if (!conn->pair_unwatched) {
        watch(front, &conn->pair,
              (conn->out.len == 0 ? SERVER_CAN_READ : 0u) |
                  (conn->in.len > 0 ? SERVER_CAN_WRITE : 0u));
    }
    note_deadline(front, conn);
}

/* libmicrohttpd closed its end: a hang-up is reported for ever, so the pair is no longer watched
 * and what it still holds is read as the client takes it. */
static void on_pair(struct server_front *front, struct server_conn *conn, unsigned what)
{
    if (what & SERVER_IS_BROKEN && !conn->pair_unwatched) {
        conn->pair_unwatched = true;
        server_poller_remove(front->poller, conn->pair.fd);
    }
    conn_run(front, conn, 0);
}

static void set_socket_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* The connection whose end hurts least: idle longest, else in a head longest. NULL if all work. */
static struct server_conn *find_victim(struct server_front *front)
{
    struct server_conn *idle = NULL, *slow = NULL;
    int64_t now = clock_now_ns();
    for (struct server_conn *conn = front->conns; conn; conn = conn->next) {
        bool is_idle = conn->phase == SERVER_GUARD_IDLE && conn->out.len == 0 &&
                       now - conn->moved_ns > second_ns && !is_waiting_for_answer(conn);
        if (is_idle && (!idle || conn->moved_ns < idle->moved_ns)) {
            idle = conn;
        }
        bool is_slow = conn->phase == SERVER_GUARD_HEAD && is_turn_of_client(conn) &&
                       now - conn->phase_ns > second_ns;
        if (is_slow && (!slow || conn->phase_ns < slow->phase_ns)) {
            slow = conn;
        }
    }
    return idle ? idle : slow;
}

static void refuse_busy(struct server_front *front, int fd)
{
    static const char body[] =
        "{\"error\":{\"message\":\"too many connections are open; try again\","
        "\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
    char answer[512];
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                       "Retry-After: 1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    atomic_fetch_add(&front->refused, 1);
    if (!front->params.tls) {
        ssize_t sent = send(fd, answer, (size_t)len, MSG_NOSIGNAL);
        (void)sent; /* a courtesy */
    }
    close(fd);
}

static struct server_conn *conn_create(struct server_front *front, int fd, int pair[2])
{
    struct server_conn *conn = MEM_NEW(struct server_conn);
    if (!conn) {
        return NULL;
    }
    atomic_init(&conn->refs, 1);
    pthread_mutex_init(&conn->lock, NULL);
    conn->client = (struct end){.kind = END_CLIENT, .fd = fd, .conn = conn};
    conn->pair = (struct end){.kind = END_PAIR, .fd = pair[0], .conn = conn};
    conn->mhd_fd = pair[1];
    conn->phase_ns = conn->moved_ns = clock_now_ns();
    if (front->params.tls && !(conn->tls = server_tls_accept(front->params.tls, fd))) {
        server_conn_release(conn);
        return NULL;
    }
    return conn;
}

static void adopt(struct server_front *front, int fd, const struct server_address *peer)
{
    int pair[2];
    set_socket_options(fd);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        refuse_busy(front, fd);
        return;
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    struct server_conn *conn = conn_create(front, fd, pair);
    if (!conn || !table_set(front, pair[1], conn)) {
        if (conn) {
            server_tls_close(conn->tls);
        }
        server_conn_release(conn);
        refuse_busy(front, fd);
        close(pair[0]);
        close(pair[1]);
        return;
    }
    conn->next = front->conns;
    if (conn->next) {
        conn->next->prev = conn;
    }
    front->conns = conn;
    atomic_fetch_add(&front->accepted, 1);
    atomic_fetch_add(&front->open, 1);
    conn->client.watched = SERVER_CAN_READ | SERVER_PEER_LEFT;
    conn->pair.watched = SERVER_CAN_READ;
    bool ok = server_poller_add(front->poller, fd, conn->client.watched, &conn->client) &&
              server_poller_add(front->poller, pair[0], conn->pair.watched, &conn->pair);
    ok = front->params.connect(front->params.arg, pair[1], peer) && ok;
    if (!ok) {
        conn_close(front, conn);
        return;
    }
    note_deadline(front, conn);
}

static void watch_listens(struct server_front *front, bool on)
{
    for (size_t i = 0; i < front->params.listen_count; i++) {
        watch(front, &front->listens[i], on ? SERVER_CAN_READ : 0u);
    }
}

static void on_listen(struct server_front *front, const struct end *end)
{
    for (int i = 0; i < 64; i++) {
        struct server_address peer = {.len = sizeof peer.v6};
        int fd = accept(end->fd, &peer.any, &peer.len);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                /* Nothing to accept with: give a descriptor back and look away for a moment. */
                struct server_conn *victim = find_victim(front);
                if (victim) {
                    conn_close(front, victim);
                }
                watch_listens(front, false);
                front->accept_again_ns = clock_now_ns() + accept_pause_ns;
                if (front->accept_again_ns < front->next_sweep_ns) {
                    front->next_sweep_ns = front->accept_again_ns;
                }
            }
            return;
        }
        if (atomic_load(&front->open) >= front->params.connections_max) {
            struct server_conn *victim = find_victim(front);
            if (!victim) {
                refuse_busy(front, fd);
                continue;
            }
            conn_close(front, victim);
        }
        adopt(front, fd, &peer);
    }
}

static void close_listens(struct server_front *front)
{
    for (size_t i = 0; i < front->params.listen_count; i++) {
        if (front->listens[i].fd >= 0) {
            server_poller_remove(front->poller, front->listens[i].fd);
            close(front->listens[i].fd);
            front->listens[i].fd = -1;
        }
    }
}

static void on_wake(struct server_front *front)
{
    char bytes[64];
    while (read(front->wake.fd, bytes, sizeof bytes) > 0) {
    }
    if (atomic_load(&front->draining)) {
        close_listens(front);
        front->next_sweep_ns = 0;
    }
}

static int timeout_of(const struct server_front *front)
{
    if (front->next_sweep_ns == INT64_MAX) {
        return -1;
    }
    int64_t left_ms = (front->next_sweep_ns - clock_now_ns()) / 1000000 + 1;
    return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

static void *front_run(void *arg)
{
    struct server_front *front = arg;
    struct server_poll_event events[EVENTS_MAX];
    while (!atomic_load(&front->stopping)) {
        int timeout_ms = timeout_of(front);
        if (atomic_load(&front->draining) && (timeout_ms < 0 || timeout_ms > 50)) {
            timeout_ms = 50;
        }
        size_t count = server_poller_wait(front->poller, events, EVENTS_MAX, timeout_ms);
        for (size_t i = 0; i < count; i++) {
            struct end *end = events[i].tag;
            if (end->conn && end->conn->is_dead) {
                continue;
            }
            switch (end->kind) {
            case END_CLIENT:
                conn_run(front, end->conn, events[i].what);
                break;
            case END_PAIR:
                on_pair(front, end->conn, events[i].what);
                break;
            case END_LISTEN:
                if (end->fd >= 0) {
                    on_listen(front, end);
                }
                break;
            case END_WAKE:
                on_wake(front);
                break;
            }
        }
        if (front->accept_again_ns && clock_now_ns() >= front->accept_again_ns) {
            front->accept_again_ns = 0;
            watch_listens(front, !atomic_load(&front->draining));
        }
        sweep(front);
        release_dead(front);
    }
    return NULL;
}

/* ---- life ---- */

static bool open_listen(struct server_front *front, size_t index, struct err *err)
{
    const struct server_address *address = &front->params.listens[index];
    struct server_address *bound = &front->bound[index];
    char text[SERVER_ADDRESS_TEXT];
    int on = 1;
    server_address_format(address, text);
    int fd = socket(address->any.sa_family, SOCK_STREAM, 0);
    if (fd < 0) {
        return err_set_errno(err, errno, "listen on %s", text);
    }
    front->listens[index] = (struct end){.kind = END_LISTEN, .fd = fd};
    set_socket_options(fd);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->any.sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    bound->len = sizeof bound->v6;
    if (bind(fd, &address->any, address->len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &bound->any, &bound->len) != 0) {
        return err_set_errno(err, errno, "listen on %s", text);
    }
    front->listens[index].watched = SERVER_CAN_READ;
    if (!server_poller_add(front->poller, fd, SERVER_CAN_READ, &front->listens[index])) {
        return err_set_errno(err, errno, "watch %s", text);
    }
    return true;
}

static bool open_wake(struct server_front *front, struct err *err)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return err_set_errno(err, errno, "create a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    front->wake = (struct end){.kind = END_WAKE, .fd = ends[0], .watched = SERVER_CAN_READ};
    front->wake_write = ends[1];
    return server_poller_add(front->poller, ends[0], SERVER_CAN_READ, &front->wake) ||
           err_set_errno(err, errno, "watch a pipe");
}

struct server_front *server_front_create(const struct server_front_params *params, struct err *err)
{
    if (params->listen_count > LISTENS_MAX) {
        err_set(err, ERR_USAGE, "%zu addresses to listen on, at most %d are allowed",
                params->listen_count, LISTENS_MAX);
        return NULL;
    }
    struct server_front *front = MEM_NEW(struct server_front);
    if (!front) {
        err_set_memory(err, sizeof *front);
        return NULL;
    }
    front->params = *params;
    front->wake.fd = front->wake_write = -1;
    front->next_sweep_ns = INT64_MAX;
    for (size_t i = 0; i < LISTENS_MAX; i++) {
        front->listens[i].fd = -1;
    }
    pthread_mutex_init(&front->table_lock, NULL);
    front->poller = server_poller_open(err);
    bool ok = front->poller >= 0 && open_wake(front, err);
    for (size_t i = 0; ok && i < params->listen_count; i++) {
        ok = open_listen(front, i, err);
    }
    if (!ok) {
        server_front_destroy(front);
        return NULL;
    }
    return front;
}

bool server_front_start(struct server_front *front, struct err *err)
{
    int fault = pthread_create(&front->thread, NULL, front_run, front);
    front->has_thread = fault == 0;
    return fault == 0 || err_set_errno(err, fault, "start the front thread");
}

void server_front_address(const struct server_front *front, size_t index,
                          struct server_address *out)
{
    *out = front->bound[index];
}

static void wake_front(struct server_front *front)
{
    ssize_t written = write(front->wake_write, "w", 1);
    (void)written; /* a full pipe wakes as well */
}

void server_front_drain(struct server_front *front)
{
    atomic_store(&front->draining, true);
    wake_front(front);
}

bool server_front_is_drained(struct server_front *front)
{
    return atomic_load(&front->open) == 0;
}

void server_front_stop(struct server_front *front)
{
    if (!front->has_thread) {
        return;
    }
    atomic_store(&front->stopping, true);
    wake_front(front);
    pthread_join(front->thread, NULL);
    front->has_thread = false;
    while (front->conns) {
        conn_close(front, front->conns);
    }
    release_dead(front);
    close_listens(front);
}

void server_front_destroy(struct server_front *front)
{
    if (!front) {
        return;
    }
    server_front_stop(front);
    close_listens(front);
    if (front->wake.fd >= 0) {
        close(front->wake.fd);
        close(front->wake_write);
    }
    server_poller_close(front->poller);
    pthread_mutex_destroy(&front->table_lock);
    mem_free(front->table);
    mem_free(front);
}

void server_front_stats(struct server_front *front, struct server_front_stats *out)
{
    *out = (struct server_front_stats){.accepted = atomic_load(&front->accepted),
                                       .refused = atomic_load(&front->refused),
                                       .open = atomic_load(&front->open)};
}
