/* Waiting for many sockets: epoll on Linux (poller_linux.c), kqueue on macOS (poller_macos.c).
 * Level-triggered. Owned by one thread. */
#ifndef SERVER_POLLER_H
#define SERVER_POLLER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    SERVER_CAN_READ = 1,
    SERVER_CAN_WRITE = 2,
    SERVER_PEER_LEFT = 4, /* the peer closed or half-closed, even if unread bytes wait before it */
    SERVER_IS_BROKEN = 8, /* always reported: reset, or closed in both directions */
};

struct server_poll_event {
    void *tag;
    unsigned what;
};

/* Descriptor of the poller; -1 and an error if there is none to be had. */
int server_poller_open(struct err *err);
void server_poller_close(int poller);

/* Changes what is watched from `before` to `after` (SERVER_CAN_READ | ...; 0: nothing). With
 * `after` 0 a broken socket is still reported; use _remove to stop that. */
bool server_poller_add(int poller, int fd, unsigned what, void *tag);
bool server_poller_change(int poller, int fd, unsigned before, unsigned after, void *tag);
void server_poller_remove(int poller, int fd);

/* timeout_ms -1 waits forever. Returns the number of events; 0 on timeout or interruption. */
size_t server_poller_wait(int poller, struct server_poll_event *events, size_t max, int timeout_ms);

#endif
