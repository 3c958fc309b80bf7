/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon-units.c: which units and files belong to each way in which libvirt can listen */
#include "prepare/prepare-priv.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* In mode DAEMON_LISTEN the local sockets are masked too: a libvirtd that is started by any of them
 * takes all its listeners from systemd and ignores its own settings. */
const DaemonUnits daemon_units[N_DAEMON_MODES] = {
    [DAEMON_SOCKET] =
        {
            .listener = "libvirtd.service",
            .conf = "/etc/libvirt/libvirtd.conf",
            .serving = WORDS("libvirtd.service"),
            .tls_socket = "libvirtd-tls.socket",
            .tcp_socket = "libvirtd-tcp.socket",
            .masked = (const char *const[]){NULL},
        },
    [DAEMON_LISTEN] =
        {
            .listener = "libvirtd.service",
            .conf = "/etc/libvirt/libvirtd.conf",
            .serving = WORDS("libvirtd.service"),
            .masked = WORDS("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket",
                            "libvirtd-tls.socket", "libvirtd-tcp.socket"),
        },
    [DAEMON_MODULAR] =
        {
            .listener = "virtproxyd.service",
            .conf = "/etc/libvirt/virtproxyd.conf",
            .serving = WORDS("virtproxyd.service", "virtqemud.service"),
            .tls_socket = "virtproxyd-tls.socket",
            .tcp_socket = "virtproxyd-tcp.socket",
            .masked = (const char *const[]){NULL},
        },
};
