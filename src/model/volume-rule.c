/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-rule.c: what may be done to a volume in which status
 *
 * One row per thing that the APIs do with a volume. Those without a task either change the status
 * for a task about a server (attach, detach) or only look (snapshot, clone: the task is about the
 * snapshot or the new volume, the status stays). */
#include "model/model.h"

#define STATUS(status) (1u << (status))

const VolumeRule volume_rules[] = {
    {
        .action = "create",
        .statuses = STATUS(VOLUME_CREATING),
        .status_while = VOLUME_CREATING,
        .task_kind = "volume-create",
    },
    {
        .action = "delete",
        .statuses = STATUS(VOLUME_AVAILABLE) | STATUS(VOLUME_ERROR) |
                    STATUS(VOLUME_ERROR_DELETING) | STATUS(VOLUME_ERROR_EXTENDING),
        .status_while = VOLUME_DELETING,
        .task_kind = "volume-delete",
        .refused_with_snapshots = true,
    },
    {
        .action = "extend",
        .statuses =
            STATUS(VOLUME_AVAILABLE) | STATUS(VOLUME_IN_USE) | STATUS(VOLUME_ERROR_EXTENDING),
        .status_while = VOLUME_EXTENDING,
        .task_kind = "volume-extend",
    },
    {
        .action = "snapshot",
        .statuses = STATUS(VOLUME_AVAILABLE),
        .status_while = VOLUME_AVAILABLE,
    },
    {
        .action = "snapshot-in-use",
        .statuses = STATUS(VOLUME_AVAILABLE) | STATUS(VOLUME_IN_USE),
        .status_while = VOLUME_IN_USE,
    },
    {
        .action = "clone",
        .statuses = STATUS(VOLUME_AVAILABLE) | STATUS(VOLUME_IN_USE),
        .status_while = VOLUME_AVAILABLE,
    },
    {
        .action = "attach",
        .statuses = STATUS(VOLUME_AVAILABLE),
        .status_while = VOLUME_ATTACHING,
    },
    {
        .action = "detach",
        .statuses = STATUS(VOLUME_IN_USE),
        .status_while = VOLUME_DETACHING,
    },
    {0},
};

const VolumeRule *
volume_rule_find(const char *action)
{
    for (const VolumeRule *rule = volume_rules; rule->action; rule++)
        if (g_strcmp0(rule->action, action) == 0)
            return rule;
    return NULL;
}

static char *
statuses_for_people(unsigned statuses)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (int i = 0; volume_status_names[i]; i++)
        if (statuses & STATUS(i))
            g_string_append_printf(text, "%s%s", text->len ? " or " : "", volume_status_names[i]);
    return g_strdup(text->str);
}

bool
volume_rule_permits(const VolumeRule *rule, const Volume *volume, GError **err)
{
    g_autofree char *wanted = NULL;
    bool is_snapshot = g_str_has_prefix(rule->action, "snapshot");

    if (rule->statuses & STATUS(volume->status))
        return true;
    wanted = statuses_for_people(rule->statuses);
    return err_set(err, ERR_CONFLICT,
                   "Invalid volume: Volume status must be %s to %s, but current status is: %s.",
                   wanted, is_snapshot ? "snapshot" : rule->action,
                   volume_status_names[volume->status]);
}
