#include "server/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/poller.h"
#include "server/session.h"

enum { EVENTS_MAX = 64 };

struct server_sessions {
    struct server *server;
    int poller;
    int wake_read, wake_write;
    pthread_t thread;
    bool has_thread;
    atomic_bool stopping;
    pthread_mutex_t lock;                   /* the four below */
    struct server_session *arrived, *ready; /* stacks */
    bool is_woken;                          /* a byte is in the pipe */
    bool is_closed;                         /* nothing more is taken */
    /* the thread's */
    struct server_session *all;
    int64_t next_time_ns;
};

/* ---- any thread ---- */

/* Under the lock. */
static void wake(struct server_sessions *sessions)
{
    if (!sessions->is_woken) {
        ssize_t written = write(sessions->wake_write, "w", 1);
        (void)written; /* a full pipe wakes as well */
        sessions->is_woken = true;
    }
}

static void wake_session(struct server_session *session)
{
    struct server_sessions *sessions = session->owner;
    pthread_mutex_lock(&sessions->lock);
    if (!session->is_ready) {
        session->is_ready = true;
        session->next_ready = sessions->ready;
        sessions->ready = session;
        wake(sessions);
    }
    pthread_mutex_unlock(&sessions->lock);
}

void server_sessions_adopt(struct server_exchange *exchange, int fd)
{
    struct server_sessions *sessions = exchange->server->sessions;
    struct server_session *session = server_session_create(exchange, fd, wake_session, sessions);
    if (!session) {
        server_exchange_closed(exchange);
        return;
    }
    pthread_mutex_lock(&sessions->lock);
    bool is_closed = sessions->is_closed;
    if (!is_closed) {
        session->next = sessions->arrived;
        sessions->arrived = session;
        wake(sessions);
    }
    pthread_mutex_unlock(&sessions->lock);
    if (is_closed) {
        server_session_destroy(session);
    }
}

void server_sessions_drain(struct server_sessions *sessions)
{
    pthread_mutex_lock(&sessions->lock);
    wake(sessions); /* the thread looks whether the server drains */
    pthread_mutex_unlock(&sessions->lock);
}

/* ---- the thread ---- */

static void remove_ready(struct server_sessions *sessions, struct server_session *session)
{
    pthread_mutex_lock(&sessions->lock);
    for (struct server_session **at = &sessions->ready; *at; at = &(*at)->next_ready) {
        if (*at == session) {
            *at = session->next_ready;
            break;
        }
    }
    pthread_mutex_unlock(&sessions->lock);
}

static void end_session(struct server_sessions *sessions, struct server_session *session)
{
    server_poller_remove(sessions->poller, session->socket.fd);
    if (session->prev) {
        session->prev->next = session->next;
    } else {
        sessions->all = session->next;
    }
    if (session->next) {
        session->next->prev = session->prev;
    }
    /* No request of it may be woken any more before it leaves the list of those that were. */
    server_session_cancel(session);
    remove_ready(sessions, session);
    server_session_destroy(session);
}

static void run_session(struct server_sessions *sessions, struct server_session *session,
                        unsigned what)
{
    int64_t again;
    if (!server_session_run(session, what, &again)) {
        end_session(sessions, session);
        return;
    }
    bool reads = !session->socket.ends && !server_socket_is_full(&session->socket);
    unsigned watched = (reads ? SERVER_CAN_READ : 0u) |
                       (server_socket_wants_write(&session->socket) ? SERVER_CAN_WRITE : 0u);
    if (watched != session->watched) {
        server_poller_change(sessions->poller, session->socket.fd, session->watched, watched,
                             session);
        session->watched = watched;
    }
    sessions->next_time_ns = again < sessions->next_time_ns ? again : sessions->next_time_ns;
}

static void take_arrived(struct server_sessions *sessions)
{
    pthread_mutex_lock(&sessions->lock);
    struct server_session *session = sessions->arrived;
    sessions->arrived = NULL;
    pthread_mutex_unlock(&sessions->lock);
    while (session) {
        struct server_session *next = session->next;
        session->prev = NULL;
        session->next = sessions->all;
        if (session->next) {
            session->next->prev = session;
        }
        sessions->all = session;
        session->watched = SERVER_CAN_READ;
        if (!server_poller_add(sessions->poller, session->socket.fd, session->watched, session)) {
            end_session(sessions, session);
        } else {
            run_session(sessions, session, SERVER_CAN_READ);
        }
        session = next;
    }
}

static void run_ready(struct server_sessions *sessions)
{
    for (;;) {
        pthread_mutex_lock(&sessions->lock);
        struct server_session *session = sessions->ready;
        if (session) {
            sessions->ready = session->next_ready;
            session->is_ready = false;
        }
        pthread_mutex_unlock(&sessions->lock);
        if (!session) {
            return;
        }
        run_session(sessions, session, 0);
    }
}

/* Everything that time brings, and the end when the server drains. */
static void run_timed(struct server_sessions *sessions)
{
    if (clock_now_ns() < sessions->next_time_ns && !atomic_load(&sessions->server->draining)) {
        return;
    }
    sessions->next_time_ns = INT64_MAX;
    struct server_session *next;
    for (struct server_session *session = sessions->all; session; session = next) {
        next = session->next;
        run_session(sessions, session, 0);
    }
}

static void take_wake(struct server_sessions *sessions)
{
    char bytes[8];
    pthread_mutex_lock(&sessions->lock);
    while (read(sessions->wake_read, bytes, sizeof bytes) > 0) {
    }
    sessions->is_woken = false;
    pthread_mutex_unlock(&sessions->lock);
}

static int timeout_of(const struct server_sessions *sessions)
{
    if (sessions->next_time_ns == INT64_MAX) {
        return -1;
    }
    int64_t left_ms = (sessions->next_time_ns - clock_now_ns()) / 1000000 + 1;
    return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

static void *sessions_run(void *arg)
{
    struct server_sessions *sessions = arg;
    struct server_poll_event events[EVENTS_MAX];
    while (!atomic_load(&sessions->stopping)) {
        size_t count =
            server_poller_wait(sessions->poller, events, EVENTS_MAX, timeout_of(sessions));
        for (size_t i = 0; i < count; i++) {
            if (events[i].tag == sessions) {
                take_wake(sessions);
            } else {
                run_session(sessions, events[i].tag, events[i].what);
            }
        }
        take_arrived(sessions);
        run_ready(sessions);
        run_timed(sessions);
    }
    pthread_mutex_lock(&sessions->lock);
    sessions->is_closed = true;
    pthread_mutex_unlock(&sessions->lock);
    take_arrived(sessions);
    while (sessions->all) {
        end_session(sessions, sessions->all);
    }
    return NULL;
}

/* ---- life ---- */

static bool open_wake(struct server_sessions *sessions, struct err *err)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return err_set_errno(err, errno, "create a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    sessions->wake_read = ends[0];
    sessions->wake_write = ends[1];
    return server_poller_add(sessions->poller, ends[0], SERVER_CAN_READ, sessions) ||
           err_set_errno(err, errno, "watch a pipe");
}

struct server_sessions *server_sessions_create(struct server *server, struct err *err)
{
    struct server_sessions *sessions = MEM_NEW(struct server_sessions);
    if (!sessions) {
        err_set_memory(err, sizeof *sessions);
        return NULL;
    }
    sessions->server = server;
    sessions->wake_read = sessions->wake_write = -1;
    sessions->next_time_ns = INT64_MAX;
    pthread_mutex_init(&sessions->lock, NULL);
    sessions->poller = server_poller_open(err);
    bool ok = sessions->poller >= 0 && open_wake(sessions, err);
    if (ok) {
        int fault = pthread_create(&sessions->thread, NULL, sessions_run, sessions);
        sessions->has_thread = fault == 0;
        ok = fault == 0 || err_set_errno(err, fault, "start the WebSocket thread");
    }
    if (!ok) {
        server_sessions_destroy(sessions);
        return NULL;
    }
    return sessions;
}

void server_sessions_stop(struct server_sessions *sessions)
{
    if (!sessions || !sessions->has_thread) {
        return;
    }
    atomic_store(&sessions->stopping, true);
    server_sessions_drain(sessions);
    pthread_join(sessions->thread, NULL);
    sessions->has_thread = false;
}

void server_sessions_destroy(struct server_sessions *sessions)
{
    if (!sessions) {
        return;
    }
    server_sessions_stop(sessions);
    if (sessions->wake_read >= 0) {
        close(sessions->wake_read);
        close(sessions->wake_write);
    }
    server_poller_close(sessions->poller);
    pthread_mutex_destroy(&sessions->lock);
    mem_free(sessions);
}
