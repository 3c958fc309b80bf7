/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-state.c: a copy of the state, on its way out while it is in use */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/godwit-priv.h"

/* Open the copy and take its name away: whatever happens to us, no file with password hashes in it
 * is left behind. */
static int
copy_open(const char *path, uint64_t *size, GError **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;

    unlink(path);
    if (fd >= 0 && fstat(fd, &info) == 0) {
        *size = (uint64_t)info.st_size;
        return fd;
    }
    err_set(err, ERR_BACKEND, "cannot read the copy in %s: %s", path, errno_text(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void
godwit_state_backup(ApiCall *call)
{
    const ApiConfig *config = api_config(call->api);
    g_autofree char *id = uuid_new();
    g_autofree char *path = NULL;
    GError *error = NULL;
    uint64_t size = 0;
    int fd = -1;

    if (!config->scratch) {
        api_fault(call, 501, "This controller has no directory for a copy.");
        return;
    }
    path = g_strdup_printf("%s/backup-%s.tmp", config->scratch, id);
    if (store_backup(config->store, path, &error))
        fd = copy_open(path, &size, &error);
    if (fd < 0) {
        api_fail(call, error);
        return;
    }
    log_event(LOG_LEVEL_NOTICE, "api", "a copy of the state is handed out", "user",
              call->caller->user_name, "remote", http_request_remote(call->request), NULL);
    api_header(call, "Content-Type", "application/vnd.sqlite3");
    http_response_status(call->response, 200);
    http_response_fd(call->response, fd, size);
}
