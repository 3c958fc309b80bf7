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
            .server = "libvirtd",
            .conf = "/etc/libvirt/libvirtd.conf",
            .serving = WORDS("libvirtd.service"),
            .tls_socket = "libvirtd-tls.socket",
            .tcp_socket = "libvirtd-tcp.socket",
            .masked = (const char *const[]){NULL},
        },
    [DAEMON_LISTEN] =
        {
            .listener = "libvirtd.service",
            .server = "libvirtd",
            .conf = "/etc/libvirt/libvirtd.conf",
            .serving = WORDS("libvirtd.service"),
            .masked = WORDS("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket",
                            "libvirtd-tls.socket", "libvirtd-tcp.socket"),
        },
    [DAEMON_MODULAR] =
        {
            .listener = "virtproxyd.service",
            .server = "virtproxyd",
            .conf = "/etc/libvirt/virtproxyd.conf",
            .serving = WORDS("virtproxyd.service", "virtqemud.service"),
            .tls_socket = "virtproxyd-tls.socket",
            .tcp_socket = "virtproxyd-tcp.socket",
            .masked = (const char *const[]){NULL},
        },
};

char *
unit_drop_in(const NodeSettings *settings, const char *libvirtd, char **text)
{
    const DaemonUnits *units = &daemon_units[settings->mode];
    const char *unit = settings->mode == DAEMON_LISTEN        ? units->listener
                       : settings->transport == TRANSPORT_TLS ? units->tls_socket
                                                              : units->tcp_socket;

    *text = NULL;
    if (settings->transport == TRANSPORT_SSH)
        return NULL;
    *text =
        settings->mode == DAEMON_LISTEN ? render_service_listen(libvirtd) : render_socket(settings);
    return g_strdup_printf("/etc/systemd/system/%s.d/godwit.conf", unit);
}
