/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* distro.c: what distributions call things: another family is another entry of this table
 *
 * Debian is what is tried on real machines. Ubuntu shares its tools and names. The entry of the
 * Red Hat family is data from its documentation and has not been run. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* apt must not ask, restart what we restart, or replace what the operator wrote. */
#define APT_ENV "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C\n"
/* apt waits for dpkg's lock by itself, but not for those of its lists and its archive. */
#define APT_WAIT                                                                           \
    "patient() {\n"                                                                        \
    "  for try in 1 2 3 4 5 6 7 8 9 10 11 12; do\n"                                        \
    "    said=$(\"$@\" 2>&1 >/dev/null) && return 0\n"                                     \
    "    case $said in *'Could not get lock'* | *'Unable to lock'*) ;; *) break ;; esac\n" \
    "    sleep 10\n"                                                                       \
    "  done\n"                                                                             \
    "  printf '%s\\n' \"$said\" >&2; return 1\n"                                           \
    "}\n"
#define APT_REFRESH APT_ENV APT_WAIT "patient apt-get -q -o DPkg::Lock::Timeout=120 update\n"
#define APT_INSTALL                                                                              \
    APT_ENV APT_WAIT "patient apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 " \
                     "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "    \
                     "install \"$@\"\n"
#define APT_PRESENT                                                              \
    "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' \"$@\" 2>/dev/null | " \
    "sed -n 's/^installed //p'\n"
#define DNF_PRESENT                                                                      \
    "for p in \"$@\"; do rpm -q \"$p\" >/dev/null 2>&1 && printf '%s\\n' \"$p\"; done; " \
    "true\n"

static const Distro distros[] = {
    {
        .name = "Debian",
        .ids = WORDS("debian"),
        .packages = WORDS("qemu-system-x86", "qemu-utils", "libvirt-daemon-system",
                          "libvirt-clients", "dmidecode", "iproute2", "nftables", "openssl"),
        .ceph_packages = WORDS("qemu-block-extra", "ceph-common"),
        .manager = "apt-get",
        .refresh = APT_REFRESH,
        .present = APT_PRESENT,
        .install = APT_INSTALL,
        .qemu_user = "libvirt-qemu",
        .qemu_group = "libvirt-qemu",
        .libvirtd = "/usr/sbin/libvirtd",
    },
    {
        .name = "Ubuntu",
        .ids = WORDS("ubuntu"),
        .packages = WORDS("qemu-system-x86", "qemu-utils", "libvirt-daemon-system",
                          "libvirt-clients", "dmidecode", "iproute2", "nftables", "openssl"),
        .ceph_packages = WORDS("qemu-block-extra", "ceph-common"),
        .manager = "apt-get",
        .refresh = APT_REFRESH,
        .present = APT_PRESENT,
        .install = APT_INSTALL,
        .qemu_user = "libvirt-qemu",
        .qemu_group = "kvm",
        .libvirtd = "/usr/sbin/libvirtd",
    },
    {
        .name = "Red Hat family",
        .ids = WORDS("rhel", "centos", "fedora", "rocky", "almalinux"),
        .packages = WORDS("qemu-kvm", "qemu-img", "libvirt-daemon", "libvirt-daemon-driver-qemu",
                          "libvirt-daemon-driver-storage-core", "libvirt-client", "iproute",
                          "nftables", "openssl"),
        .ceph_packages = WORDS("qemu-kvm-block-rbd", "ceph-common"),
        .manager = "dnf",
        .refresh = "exec dnf -q makecache\n",
        .present = DNF_PRESENT,
        .install = "exec dnf -q -y --setopt=install_weak_deps=False install \"$@\"\n",
        .qemu_user = "qemu",
        .qemu_group = "qemu",
        .libvirtd = "/usr/sbin/libvirtd",
        .modular = true,
    },
};

/* os-release is a list of shell assignments, of which only the plain ones occur. */
char *
os_release_value(const char *os_release, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(os_release, "\n", 200);
    size_t length = strlen(key);

    for (char **line = lines; *line != NULL; line++) {
        char *text = g_strstrip(*line);
        if (strncmp(text, key, length) != 0 || text[length] != '=')
            continue;
        const char *value = text + length + 1;
        size_t size = strlen(value);
        if (size >= 2 && (*value == '"' || *value == '\'') && value[size - 1] == *value)
            return g_strndup(value + 1, size - 2);
        return g_strdup(value);
    }
    return NULL;
}

static const Distro *
distro_by_id(const char *id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(distros); i++) {
        if (g_strv_contains(distros[i].ids, id))
            return &distros[i];
    }
    return NULL;
}

const Distro *
distro_find(const char *os_release, GError **err)
{
    g_autofree char *id = os_release_value(os_release, "ID");
    g_autofree char *like = os_release_value(os_release, "ID_LIKE");
    g_autofree char *pretty = os_release_value(os_release, "PRETTY_NAME");
    const Distro *found = id != NULL ? distro_by_id(id) : NULL;

    if (found == NULL && like != NULL) {
        g_auto(GStrv) words = g_strsplit(like, " ", 20);
        for (char **word = words; *word != NULL && found == NULL; word++)
            found = distro_by_id(*word);
    }
    if (found == NULL) {
        const char *shown = pretty != NULL ? pretty : id;
        err_set(err, ERR_UNSUPPORTED,
                "this machine runs \"%.80s\", which Godwit does not know how to prepare; it knows "
                "Debian, Ubuntu and the Red Hat family. Put one of these on it, or set it up by "
                "hand (godwit doctor shows what is still missing) and add it with godwit host add",
                text_is_clean(shown, 200, false) ? shown : "a system without os-release");
    }
    return found;
}
