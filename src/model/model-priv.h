/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* model-priv.h: shared between the files of model/ that read configuration */
#pragma once

#include "model/model.h"

/* What Godwit does with a key of nova.conf's [libvirt] section. */
typedef enum NovaKeyUse {
    NOVA_KEY_HONOURED, /* libvirt-settings.c reads it */
    NOVA_KEY_NOTICED,  /* accepted; text says what replaces it or why it is not needed */
} NovaKeyUse;

typedef struct NovaKey {
    const char *name;
    NovaKeyUse use;
    const char *text; /* NULL when honoured; continues "KEY is not needed: " */
} NovaKey;

extern const NovaKey nova_libvirt_keys[]; /* ended by name == NULL */
const NovaKey *nova_libvirt_key_find(const char *name);
/* The known key most like name, or NULL if none is near. */
const char *nova_libvirt_key_nearest(const char *name);
