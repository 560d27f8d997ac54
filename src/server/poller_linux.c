#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server/poller.h"

enum { BATCH = 64 };

int server_poller_open(struct err *err)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) {
        err_set_errno(err, errno, "create an epoll descriptor");
    }
    return poller;
}

void server_poller_close(int poller)
{
    if (poller >= 0) {
        close(poller);
    }
}

static struct epoll_event to_epoll(unsigned what, void *tag)
{
    uint32_t events = (what & SERVER_CAN_READ ? EPOLLIN : 0u) |
                      (what & SERVER_CAN_WRITE ? EPOLLOUT : 0u) |
                      (what & SERVER_PEER_LEFT ? EPOLLRDHUP : 0u);
    return (struct epoll_event){.events = events, .data.ptr = tag};
}

bool server_poller_add(int poller, int fd, unsigned what, void *tag)
{
    struct epoll_event event = to_epoll(what, tag);
    return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool server_poller_change(int poller, int fd, unsigned before, unsigned after, void *tag)
{
    struct epoll_event event = to_epoll(after, tag);
    return before == after || epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event) == 0;
}

void server_poller_remove(int poller, int fd)
{
    epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

size_t server_poller_wait(int poller, struct server_poll_event *events, size_t max, int timeout_ms)
{
    struct epoll_event ready[BATCH];
    int count = epoll_wait(poller, ready, max < BATCH ? (int)max : BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        uint32_t got = ready[i].events;
        events[i].tag = ready[i].data.ptr;
        events[i].what = (got & EPOLLIN ? SERVER_CAN_READ : 0u) |
                         (got & EPOLLOUT ? SERVER_CAN_WRITE : 0u) |
                         (got & EPOLLRDHUP ? SERVER_PEER_LEFT : 0u) |
                         (got & (EPOLLERR | EPOLLHUP) ? SERVER_IS_BROKEN : 0u);
    }
    return count > 0 ? (size_t)count : 0;
}
