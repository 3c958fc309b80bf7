/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-trash.c: volumes that are gone for everybody but for the volumes that stem from them
 *
 * A snapshot that clones stem from can be removed: librbd keeps it, invisible, until the last clone
 * has gone or holds all its data itself. An image with such a snapshot cannot be removed, but be
 * moved to the pool's trash. Whenever a clone goes, its parent is looked at; what a crash left is
 * found when the cluster is connected.
 *
 * Cinder calls its volumes the same, and a person may keep one in the trash to have it back. So the
 * pool's metadata godwit.trash.IMAGE-ID = volume-ID says which ones are there because Godwit put
 * them there; only those are ever purged. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define SNAPSHOTS_MOST 65536
#define TRASH_MOST     1000000
#define TRASH_KEY      "godwit.trash."

void
rbd_parent_clear(RbdParent *parent)
{
    g_clear_pointer(&parent->id, g_free);
}

RbdParent
rbd_parent_of(RbdLink *link, rbd_image_t image)
{
    rbd_linked_image_spec_t spec = {0};
    rbd_snap_spec_t snap = {0};
    RbdParent parent = {.pool = BLOCK_FOR_VOLUMES};

    if (rbd_get_parent(image, &spec, &snap) < 0)
        return parent;
    if (g_strcmp0(spec.pool_name, link->block->pools[BLOCK_FOR_VOLUMES]) == 0)
        parent.id = g_strdup(spec.image_id);
    rbd_linked_image_spec_cleanup(&spec);
    rbd_snap_spec_cleanup(&snap);
    return parent;
}

/* Does any image stem from that snapshot? When in doubt, yes. */
static bool
has_children(rbd_image_t image, uint64_t snap_id)
{
    rbd_linked_image_spec_t children[1] = {{0}};
    size_t n = G_N_ELEMENTS(children);
    int code = rbd_snap_set_by_id(image, snap_id);

    if (code >= 0)
        code = rbd_list_children3(image, children, &n);
    if (code >= 0)
        rbd_linked_image_spec_list_cleanup(children, n);
    rbd_snap_set(image, NULL);
    return code < 0 || n > 0;
}

/* Removes it if nothing needs it. *people: it is there for people to see. */
static int
snapshot_tidy(rbd_image_t image, const rbd_snap_info_t *snap, bool *people, bool *remains)
{
    rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;
    int code = rbd_snap_get_namespace_type(image, snap->id, &type);

    *people = false;
    *remains = true;
    if (code < 0)
        return code;
    if (type == RBD_SNAP_NAMESPACE_TYPE_USER && g_str_has_prefix(snap->name, RBD_HELPER_PREFIX)) {
        /* Becomes invisible, or goes at once if the clone for which it was made was never made. */
        *remains = has_children(image, snap->id);
        return rbd_snap_remove(image, snap->name);
    }
    *people = type != RBD_SNAP_NAMESPACE_TYPE_TRASH;
    if (*people || has_children(image, snap->id))
        return 0;
    *remains = false;
    return rbd_snap_remove_by_id(image, snap->id);
}

bool
rbd_snapshots_tidy(RbdLink *link, const char *volume, rbd_image_t image, unsigned *left,
                   char **visible, GError **err)
{
    g_autofree rbd_snap_info_t *list = NULL;
    int room = 16, n, code = 0;

    *left = 0;
    *visible = NULL;
    do {
        g_free(list);
        list = g_new0(rbd_snap_info_t, room);
        n = rbd_snap_list(image, list, &room); /* room: how many there are, if they are more */
    } while (n == -ERANGE && room <= SNAPSHOTS_MOST);
    for (int i = 0; code >= 0 && i < n; i++) {
        bool people, remains;

        code = snapshot_tidy(image, &list[i], &people, &remains);
        *left += remains;
        if (people && !*visible)
            *visible = g_strdup(list[i].name);
    }
    if (n >= 0)
        rbd_snap_list_end(list);
    code = n < 0 ? n : code;
    return code >= 0 ||
           rbd_failed(link, BLOCK_FOR_VOLUMES, volume, "tidy the snapshots of", code, err);
}

/* Written before the image is moved: one that a crash left where it was is deleted again. */
bool
rbd_trash_put(RbdLink *link, const char *name, const char *id, GError **err)
{
    rados_ioctx_t io = link->io[BLOCK_FOR_VOLUMES];
    g_autofree char *key = g_strconcat(TRASH_KEY, id, NULL);
    int code = rbd_pool_metadata_set(io, key, name);

    if (code >= 0)
        code = rbd_trash_move(io, name, 0);
    return code >= 0 || code == -ENOENT ||
           rbd_failed(link, BLOCK_FOR_VOLUMES, name, "delete", code, err);
}

static bool
was_put_by_us(rados_ioctx_t io, const char *key)
{
    char name[256];
    size_t size = sizeof name;

    return rbd_pool_metadata_get(io, key, name, &size) >= 0;
}

/* Remove an image in the trash if nothing stems from it any more. *parent: its own. */
static bool
purge(RbdLink *link, const char *id, RbdParent *parent)
{
    rados_ioctx_t io = link->io[BLOCK_FOR_VOLUMES];
    g_autofree char *key = g_strconcat(TRASH_KEY, id, NULL), *visible = NULL;
    rbd_trash_image_info_t info;
    rbd_image_t image;
    unsigned left = 0;
    bool ok = true;

    *parent = (RbdParent){0};
    if (rbd_trash_get(io, id, &info) < 0)
        return false;
    rbd_trash_get_cleanup(&info);
    if (!was_put_by_us(io, key))
        return false;
    if (rbd_open_by_id(io, id, &image, NULL) >= 0) {
        *parent = rbd_parent_of(link, image);
        ok = rbd_snapshots_tidy(link, id, image, &left, &visible, NULL);
        rbd_close(image);
    }
    if (!ok || left > 0 || rbd_trash_remove(io, id, true) < 0)
        return false;
    rbd_pool_metadata_remove(io, key);
    return true;
}

void
rbd_trash_purge_from(RbdLink *link, const RbdParent *parent)
{
    g_autofree char *id = g_strdup(parent->id);
    WITH_MUTEX(&link->block->trash_lock);

    while (id) {
        RbdParent next;
        bool gone = purge(link, id, &next);

        g_free(id);
        id = gone ? next.id : NULL;
        if (!gone)
            rbd_parent_clear(&next);
    }
}

void
rbd_trash_sweep(RbdLink *link)
{
    rados_ioctx_t io = link->io[BLOCK_FOR_VOLUMES];
    g_autofree rbd_trash_image_info_t *list = NULL;
    size_t room = 64, n;
    int code;

    do {
        g_free(list);
        list = g_new0(rbd_trash_image_info_t, room);
        n = room;
        code = rbd_trash_list(io, list, &n);
        room = MAX(n, room * 2);
    } while (code == -ERANGE && room <= TRASH_MOST);
    for (size_t i = 0; code >= 0 && i < n; i++) {
        const RbdParent entry = {.pool = BLOCK_FOR_VOLUMES, .id = list[i].id};

        rbd_trash_purge_from(link, &entry);
    }
    if (code >= 0)
        rbd_trash_list_cleanup(list, n);
}
