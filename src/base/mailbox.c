/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mailbox.c: many senders, one receiver, a bound
 *
 * The eventfd holds 1 exactly while messages are queued or the box is closed; it is changed under
 * the mutex, together with the queue, so that a poll never misses a message and never spins on an
 * empty box. */
#include "base/base.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct Mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    GQueue messages;
    size_t limit;
    GDestroyNotify message_free;
    uint64_t refused;
    bool closed;
    int fd;
};

Mailbox *
mailbox_new(size_t limit, GDestroyNotify message_free)
{
    Mailbox *box = g_new0(Mailbox, 1);
    pthread_mutex_init(&box->mutex, NULL);
    cond_init_monotonic(&box->arrived);
    g_queue_init(&box->messages);
    box->limit = limit;
    box->message_free = message_free;
    box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (box->fd < 0)
        g_error("eventfd: %s; raise the limit of open files (LimitNOFILE, ulimit -n)",
                errno_text(errno));
    return box;
}

static void
mailbox_drop(Mailbox *box, void *message)
{
    if (box->message_free != NULL && message != NULL)
        box->message_free(message);
}

void
mailbox_free(Mailbox *box)
{
    if (box == NULL)
        return;
    void *message;
    while ((message = g_queue_pop_head(&box->messages)) != NULL)
        mailbox_drop(box, message);
    close(box->fd);
    pthread_cond_destroy(&box->arrived);
    pthread_mutex_destroy(&box->mutex);
    g_free(box);
}

/* Under the mutex, after every change of queue or closed. */
static void
mailbox_signal(Mailbox *box, bool was_readable)
{
    bool readable = box->closed || !g_queue_is_empty(&box->messages);
    if (readable == was_readable)
        return;
    /* Neither call can fail: the counter only ever alternates between 0 and 1. */
    if (readable)
        eventfd_write(box->fd, 1);
    else
        eventfd_read(box->fd, &(eventfd_t){0});
}

bool
mailbox_send(Mailbox *box, void *message)
{
    bool taken;
    {
        WITH_MUTEX(&box->mutex);
        taken = !box->closed && g_queue_get_length(&box->messages) < box->limit;
        if (taken) {
            bool was_readable = !g_queue_is_empty(&box->messages);
            g_queue_push_tail(&box->messages, message);
            mailbox_signal(box, was_readable);
            pthread_cond_signal(&box->arrived);
        } else {
            box->refused++;
        }
    }
    if (!taken)
        mailbox_drop(box, message);
    return taken;
}

static void *
mailbox_take(Mailbox *box)
{
    if (g_queue_is_empty(&box->messages))
        return NULL;
    void *message = g_queue_pop_head(&box->messages);
    mailbox_signal(box, true);
    return message;
}

void *
mailbox_receive(Mailbox *box, int64_t deadline_us)
{
    WITH_MUTEX(&box->mutex);
    while (g_queue_is_empty(&box->messages) && !box->closed) {
        if (!cond_wait_until(&box->arrived, &box->mutex, deadline_us))
            break;
    }
    return mailbox_take(box);
}

void *
mailbox_try_receive(Mailbox *box)
{
    WITH_MUTEX(&box->mutex);
    return mailbox_take(box);
}

void
mailbox_close(Mailbox *box)
{
    WITH_MUTEX(&box->mutex);
    bool was_readable = box->closed || !g_queue_is_empty(&box->messages);
    box->closed = true;
    mailbox_signal(box, was_readable);
    pthread_cond_broadcast(&box->arrived);
}

bool
mailbox_is_closed(Mailbox *box)
{
    WITH_MUTEX(&box->mutex);
    return box->closed;
}

int
mailbox_fd(Mailbox *box)
{
    return box->fd;
}

uint64_t
mailbox_refused(Mailbox *box)
{
    WITH_MUTEX(&box->mutex);
    return box->refused;
}
