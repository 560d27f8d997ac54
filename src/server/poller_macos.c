#include <errno.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/poller.h"

enum { BATCH = 64 };

int server_poller_open(struct err *err)
{
    int poller = kqueue();
    if (poller < 0) {
        err_set_errno(err, errno, "create a kqueue descriptor");
    }
    return poller;
}

void server_poller_close(int poller)
{
    if (poller >= 0) {
        close(poller);
    }
}

static bool set(int poller, int fd, int filter, unsigned flags, unsigned notes, void *tag)
{
    struct kevent change;
    EV_SET(&change, (uintptr_t)fd, (int16_t)filter, (uint16_t)flags, notes, 0, tag);
    return kevent(poller, &change, 1, NULL, 0, NULL) == 0;
}

/* The read filter reports EV_EOF when the peer left. To hear of that without being woken by bytes
 * that nobody wants yet, the low-water mark is raised beyond any buffer. */
bool server_poller_change(int poller, int fd, unsigned before, unsigned after, void *tag)
{
    unsigned reads = SERVER_CAN_READ | SERVER_PEER_LEFT;
    bool ok = true;
    if ((before ^ after) & reads) {
        struct kevent change;
        bool wanted = (after & reads) != 0;
        EV_SET(&change, (uintptr_t)fd, EVFILT_READ, (uint16_t)(wanted ? EV_ADD : EV_DELETE),
               NOTE_LOWAT, after & SERVER_CAN_READ ? 1 : 1 << 30, tag);
        ok = (!wanted && !(before & reads)) || kevent(poller, &change, 1, NULL, 0, NULL) == 0;
    }
    if ((before ^ after) & SERVER_CAN_WRITE) {
        ok = set(poller, fd, EVFILT_WRITE, after & SERVER_CAN_WRITE ? EV_ADD : EV_DELETE, 0, tag) &&
             ok;
    }
    return ok;
}

bool server_poller_add(int poller, int fd, unsigned what, void *tag)
{
    return server_poller_change(poller, fd, 0, what, tag);
}

void server_poller_remove(int poller, int fd)
{
    set(poller, fd, EVFILT_READ, EV_DELETE, 0, NULL);
    set(poller, fd, EVFILT_WRITE, EV_DELETE, 0, NULL);
}

size_t server_poller_wait(int poller, struct server_poll_event *events, size_t max, int timeout_ms)
{
    struct kevent ready[BATCH];
    struct timespec timeout = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
    int count = kevent(poller, NULL, 0, ready, max < BATCH ? (int)max : BATCH,
                       timeout_ms < 0 ? NULL : &timeout);
    for (int i = 0; i < count; i++) {
        bool is_read = ready[i].filter == EVFILT_READ;
        bool has_left = (ready[i].flags & EV_EOF) != 0;
        events[i].tag = ready[i].udata;
        events[i].what = (is_read ? SERVER_CAN_READ : SERVER_CAN_WRITE) |
                         (has_left ? SERVER_PEER_LEFT : 0u) |
                         (has_left && (!is_read || ready[i].fflags) ? SERVER_IS_BROKEN : 0u);
    }
    return count > 0 ? (size_t)count : 0;
}
