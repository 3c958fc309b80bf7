/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge-system.c: the machine and its kernel, node by node. Pure. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define DISK_WARN_MIB 1024
#define DISK_FAIL_MIB 32
/* In force now, and after the next start. */
#define SYSCTL_SET(path, name, value)                                   \
    "echo " value " > /proc/sys/" path " && mkdir -p /etc/sysctl.d && " \
    "echo " name "=" value " > /etc/sysctl.d/90-" name ".conf"

/* The device alone is enough where QEMU's user may open it, which it mostly may not. */
static void
judge_post_copy(Judge *judge, const DoctorNode *node)
{
    if (fact_is(node, "userfaultfd", "sysctl"))
        judge_add(judge, node, "post-copy", CHECK_PASS,
                  g_strdup("vm.unprivileged_userfaultfd is 1"), NULL, NULL);
    else if (fact_is(node, "userfaultfd", "device") && fact_is(node, "qemu.uid", "0"))
        judge_add(judge, node, "post-copy", CHECK_PASS,
                  g_strdup("/dev/userfaultfd is there, and QEMU runs as root"), NULL, NULL);
    else
        judge_add(judge, node, "post-copy", CHECK_WARN,
                  g_strdup_printf("QEMU's user may not use userfaultfd%s",
                                  fact_is(node, "userfaultfd", "device")
                                      ? "; /dev/userfaultfd is for root"
                                      : ""),
                  "post-copy moves to this node fail: allow it, if nothing else on this node needs "
                  "it forbidden",
                  SYSCTL_SET("vm/unprivileged_userfaultfd", "vm.unprivileged_userfaultfd", "1"));
}

/* "SIZE_KIB:ALL/FREE," → how many of that size; 0: none. */
static int64_t
pages_of(const char *pages, const char *size)
{
    g_auto(GStrv) words = g_strsplit(pages, ",", 16);

    for (char **word = words; *word != NULL; word++) {
        const char *colon = strchr(*word, ':');
        if (colon == NULL || strncmp(*word, size, (size_t)(colon - *word)) != 0 ||
            strlen(size) != (size_t)(colon - *word))
            continue;
        g_autofree char *all = g_strndup(colon + 1, strcspn(colon + 1, "/"));
        int64_t n = 0;
        parse_int64(all, 0, INT64_MAX, &n);
        return n;
    }
    return 0;
}

/* Guests with huge pages can only go where there are some of the same size. */
static void
judge_huge_pages(Judge *judge, const DoctorNode *node)
{
    const char *pages = fact(node, "hugepages");
    g_autoptr(GString) missing = g_string_new(NULL);

    for (unsigned i = 0; i < judge->n; i++) {
        g_auto(GStrv) words = g_strsplit(fact(&judge->nodes[i], "hugepages"), ",", 16);
        for (char **word = words; *word != NULL; word++) {
            g_autofree char *size = g_strndup(*word, strcspn(*word, ":"));
            int64_t kib = 0;
            if (parse_int64(size, 1, INT64_C(1) << 40, &kib) &&
                pages_of(fact(&judge->nodes[i], "hugepages"), size) > 0 &&
                pages_of(pages, size) == 0 && strstr(missing->str, size) == NULL)
                g_string_append_printf(missing, "%s%s KiB (%s has some)",
                                       missing->len > 0 ? ", " : "", size, judge->nodes[i].name);
        }
    }
    if (missing->len > 0)
        judge_add(judge, node, "huge-pages", CHECK_WARN,
                  g_strdup_printf("none here of %s", missing->str),
                  "guests that use them cannot move here: reserve as many on the kernel's command "
                  "line (hugepagesz=, hugepages=)",
                  NULL);
    else
        judge_add(judge, node, "huge-pages", CHECK_PASS,
                  g_strdup_printf("as on the other nodes (KiB:all/free): %s",
                                  *pages != '\0' ? pages : "none"),
                  NULL, NULL);
}

/* libvirt raises QEMU's limit by itself, if it may. */
static void
judge_locked_memory(Judge *judge, const DoctorNode *node)
{
    int64_t limit = fact_number(node, "memlock", -1);
    int64_t kib = fact_number(node, "memory.kib", INT64_MAX);
    int64_t memory = CLAMP(kib, 0, INT64_MAX / 1024) * 1024;
    bool modular = fact_is(node, "daemon", "virtqemud");

    if (fact_is(node, "sysresource", "yes") || fact_is(node, "memlock", "unlimited") ||
        limit >= memory)
        judge_add(judge, node, "locked-memory", CHECK_PASS,
                  g_strdup(fact_is(node, "sysresource", "yes")
                               ? "libvirt may raise QEMU's limit"
                               : "libvirt's own limit is no less than the memory"),
                  NULL, NULL);
    else if (limit < 0)
        judge_add(judge, node, "locked-memory", CHECK_WARN,
                  g_strdup("libvirt's daemon is not running, so its limit is not known"),
                  "start it, and ask again",
                  modular ? "systemctl start virtqemud.service"
                          : "systemctl start libvirtd.service");
    else
        judge_add(judge, node, "locked-memory", CHECK_WARN,
                  g_strdup_printf("libvirt's limit is %" PRId64 " KiB, and it may not raise QEMU's",
                                  limit / 1024),
                  "zero-copy moves from this node fail: give its unit LimitMEMLOCK=infinity",
                  modular ? "mkdir -p /etc/systemd/system/virtqemud.service.d && printf "
                            "'[Service]\\nLimitMEMLOCK=infinity\\n' > "
                            "/etc/systemd/system/virtqemud.service.d/memlock.conf && systemctl "
                            "daemon-reload && systemctl restart virtqemud.service"
                          : "mkdir -p /etc/systemd/system/libvirtd.service.d && printf "
                            "'[Service]\\nLimitMEMLOCK=infinity\\n' > "
                            "/etc/systemd/system/libvirtd.service.d/memlock.conf && systemctl "
                            "daemon-reload && systemctl restart libvirtd.service");
}

static void
judge_disk(Judge *judge, const DoctorNode *node)
{
    g_auto(GStrv) words = g_strsplit(fact(node, "disk"), ",", 16);
    int64_t least = INT64_MAX;
    g_autofree char *where = g_strdup("nothing");

    for (char **word = words; *word != NULL; word++) {
        const char *colon = strrchr(*word, ':');
        int64_t free_mib;
        if (colon == NULL || !parse_int64(colon + 1, 0, INT64_MAX, &free_mib) || free_mib >= least)
            continue;
        least = free_mib;
        g_free(where);
        where = g_strndup(*word, (gsize)(colon - *word));
    }
    if (least == INT64_MAX)
        judge_add(judge, node, "disk", CHECK_WARN, g_strdup("it could not be seen what is free"),
                  "look with df", NULL);
    else
        judge_add(judge, node, "disk",
                  least < DISK_FAIL_MIB   ? CHECK_FAIL
                  : least < DISK_WARN_MIB ? CHECK_WARN
                                          : CHECK_PASS,
                  g_strdup_printf("%" PRId64 " MiB free in %s", least, where),
                  "make room: logs, consoles and libvirt's state go there, and no guest starts "
                  "without",
                  NULL);
}

static void
judge_time_source(Judge *judge, const DoctorNode *node)
{
    const char *by = fact(node, "sync.by"), *container = fact(node, "container");

    if (*container != '\0' && !g_str_equal(container, "none"))
        judge_add(
            judge, node, "time-source", CHECK_PASS,
            g_strdup_printf("a container (%s): its clock is that of the machine below", container),
            NULL, NULL);
    else if (fact_is(node, "sync", "yes"))
        judge_add(judge, node, "time-source", CHECK_PASS,
                  g_strdup_printf("synchronised%s%s", *by != '\0' ? ", by " : "", by), NULL, NULL);
    else
        judge_add(judge, node, "time-source", CHECK_WARN,
                  g_strdup_printf("not synchronised; %s%s",
                                  *by != '\0' ? by : "no time service runs",
                                  *by != '\0' ? " runs, but has no time yet" : ""),
                  *by != '\0' ? "look at its sources (chronyc sources, timedatectl timesync-status)"
                              : "clocks drift apart: install chrony, or switch systemd's on",
                  *by != '\0' ? NULL : "timedatectl set-ntp true");
}

static void
judge_sysctl(Judge *judge, const DoctorNode *node)
{
    if (fact_is(node, "window_scaling", "0"))
        judge_add(judge, node, "sysctl", CHECK_WARN, g_strdup("net.ipv4.tcp_window_scaling is 0"),
                  "moves crawl: no more than 64 KiB are ever under way",
                  SYSCTL_SET("net/ipv4/tcp_window_scaling", "net.ipv4.tcp_window_scaling", "1"));
    else if (fact_is(node, "overcommit", "2"))
        judge_add(judge, node, "sysctl", CHECK_WARN, g_strdup("vm.overcommit_memory is 2"),
                  "a guest may be refused its memory when it arrives, although there is some",
                  SYSCTL_SET("vm/overcommit_memory", "vm.overcommit_memory", "0"));
    else
        judge_add(judge, node, "sysctl", CHECK_PASS,
                  g_strdup_printf("vm.overcommit_memory %s, net.ipv4.tcp_window_scaling %s",
                                  fact(node, "overcommit"), fact(node, "window_scaling")),
                  NULL, NULL);
}

static void
judge_kvm(Judge *judge, const DoctorNode *node)
{
    bool intel = fact_is(node, "vendor", "GenuineIntel"),
         amd = fact_is(node, "vendor", "AuthenticAMD");

    if (fact_is(node, "kvm", "yes"))
        judge_add(judge, node, "kvm", CHECK_PASS, g_strdup("/dev/kvm is there"), NULL, NULL);
    else
        judge_add(judge, node, "kvm", CHECK_WARN, g_strdup("there is no /dev/kvm"),
                  "guests run without hardware help, slowly; load the module, and if it does not "
                  "load, switch virtualization on in the firmware",
                  intel ? "modprobe kvm_intel"
                  : amd ? "modprobe kvm_amd"
                        : NULL);
}

void
judge_system(Judge *judge, const DoctorNode *node)
{
    judge_time_source(judge, node);
    judge_post_copy(judge, node);
    judge_huge_pages(judge, node);
    judge_locked_memory(judge, node);
    judge_disk(judge, node);
    judge_sysctl(judge, node);
    judge_kvm(judge, node);
}
