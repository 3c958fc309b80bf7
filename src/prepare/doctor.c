/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor.c: asks the nodes, all at once, and then each of them about the others */
#include "prepare/doctor-priv.h"

#include <string.h>

#define FACTS_SECONDS 60
#define REACH_SECONDS 120

/* Every line KEY=VALUE; what is not there is not printed. */
static const char facts_script[] =
    "export LC_ALL=C\n"
    "conf() { sed -n \"s/^[ \\t]*$1[ \\t]*=[ \\t]*\\\"\\{0,1\\}\\([^\\\"# ]*\\).*/\\1/p\" "
    "/etc/libvirt/qemu.conf "
    "2>/dev/null | head -n 1; }\n"
    "echo \"clock=$(date +%s%6N)\"\n"
    "echo \"system=$(. /etc/os-release; echo \"$PRETTY_NAME\"), kernel $(uname -r)\"\n"
    "[ ! -e /var/backups/godwit/written ] || echo prepared=yes\n"
    "for p in 16509 16514; do\n"
    "  a=$(ss -Hltn \"sport = :$p\" | sed -n 's/^LISTEN *[0-9]* *[0-9]* *\\([^ ]*\\) .*/\\1/p' | "
    "head -n 1)\n"
    "  [ -z \"$a\" ] || echo \"port.$p=$a\"\n"
    "done\n"
    "end=$(openssl x509 -in /etc/pki/libvirt/servercert.pem -noout -enddate 2>/dev/null) &&\n"
    "  echo \"certificate.days=$(( ($(date -d \"${end#*=}\" +%s) - $(date +%s)) / 86400 ))\"\n"
    "! nft list table inet godwit_node >/dev/null 2>&1 || echo firewall=yes\n"
    "if [ \"$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)\" = 1 ] || [ -c "
    "/dev/userfaultfd ]; "
    "then echo userfaultfd=yes; fi\n"
    "[ ! -c /dev/kvm ] || echo kvm=yes\n"
    "d=/var/lib/libvirt; [ -d $d ] || d=/var/lib\n"
    "echo \"disk.mib=$(df -Pm $d | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\\([0-9]*\\) .*/\\1/p')\"\n"
    "v=$(virsh -q -c qemu:///system version 2>/dev/null)\n"
    "echo \"libvirt=$(printf '%s\\n' \"$v\" | sed -n 's/^Using library: libvirt //p')\"\n"
    "echo \"qemu=$(printf '%s\\n' \"$v\" | sed -n 's/^Running hypervisor: QEMU //p')\"\n"
    "user=$(conf user); group=$(conf group)\n"
    "[ -z \"$user\" ] || echo \"qemu.user=$user:$group $(id -u \"$user\"):$(getent group "
    "\"$group\" | cut -d: -f3)"
    ", dynamic_ownership $(conf dynamic_ownership)\"\n"
    "[ -z \"$(conf migration_port_min)\" ] || echo \"ports=$(conf migration_port_min)-$(conf "
    "migration_port_max)\"\n"
    "echo \"address=$(ip -o addr show scope global | sed -n 's|.* inet6\\{0,1\\} \\([^/ ]*\\)[/ "
    "].*|\\1|p' | head -n 1)\"\n"
    "if [ -n \"$1\" ]; then\n"
    "  dev=$(ip -o route get \"$1\" 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')\n"
    "  [ -z \"$dev\" ] || [ \"$dev\" = lo ] || echo \"mtu=$(cat /sys/class/net/$dev/mtu)\"\n"
    "fi\n"
    "true";

/* $1 scheme, then per peer: name, address */
static const char reach_script[] =
    "scheme=$1; shift\n"
    "while [ $# -ge 2 ]; do\n"
    "  if ! e=$(timeout 15 virsh -q -c \"$scheme://$2/system\" hostname 2>&1 >/dev/null); then\n"
    "    echo \"$1 no $(printf '%s ' $e | tail -c 300)\"\n"
    "  elif getent ahosts \"$1\" >/dev/null && timeout 15 virsh -q -c \"$scheme://$1/system\" "
    "hostname "
    ">/dev/null 2>&1; then\n"
    "    echo \"$1 yes name\"\n"
    "  else\n"
    "    echo \"$1 yes address\"\n"
    "  fi\n"
    "  shift 2\n"
    "done";

typedef struct Doctor {
    DoctorNode *nodes;
    NodeSsh **ssh;
    unsigned n;
    const char *ssh_config;
    int cancel_fd;
    bool drift_only;
} Doctor;

typedef struct Visit {
    Doctor *doctor;
    unsigned index;
} Visit;

static void
fact_put(GHashTable *facts, const char *key, int64_t value)
{
    g_hash_table_insert(facts, g_strdup(key), g_strdup_printf("%" PRId64, value));
}

/* The MTU that counts is the one on the way to another node; any of them will do. */
static const char *
some_peer(const Doctor *doctor, unsigned index)
{
    for (unsigned i = 0; i < doctor->n; i++) {
        if (i != index)
            return doctor->nodes[i].target->host;
    }
    return "";
}

static void
visit_look(void *opaque)
{
    const Visit *visit = opaque;
    Doctor *doctor = visit->doctor;
    DoctorNode *node = &doctor->nodes[visit->index];
    SshOptions options = {.config = doctor->ssh_config, .cancel_fd = doctor->cancel_fd};
    g_autofree char *answer = NULL, *peer = NULL;
    const char *const resolve[] = {some_peer(doctor, visit->index), NULL};

    NodeSsh *ssh = doctor->ssh[visit->index] = ssh_open(node->target, &options, &node->error);
    if (ssh == NULL || !node_files_drift(ssh, &node->drift, &node->error) ||
        !ssh_script(ssh, "getent ahosts \"$1\" | sed -n '1s/ .*//p'", resolve, FACTS_SECONDS, &peer,
                    &node->error))
        return;
    g_strchomp(peer);
    const char *const args[] = {peer, NULL};
    int64_t asked = clock_realtime();
    if (!ssh_script(ssh, facts_script, args, FACTS_SECONDS, &answer, &node->error))
        return;
    node->facts = doctor_facts_parse(answer);
    fact_put(node->facts, "asked", asked);
    fact_put(node->facts, "answered", clock_realtime());
}

static void
visit_reach(void *opaque)
{
    const Visit *visit = opaque;
    Doctor *doctor = visit->doctor;
    DoctorNode *node = &doctor->nodes[visit->index];
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);

    if (node->error != NULL || doctor->drift_only)
        return;
    g_ptr_array_add(
        args, g_strdup(g_hash_table_contains(node->facts, "port.16514") ? "qemu+tls" : "qemu+tcp"));
    for (unsigned i = 0; i < doctor->n; i++) {
        const DoctorNode *peer = &doctor->nodes[i];
        const char *address =
            peer->facts != NULL ? g_hash_table_lookup(peer->facts, "address") : NULL;
        if (i == visit->index || address == NULL)
            continue;
        g_ptr_array_add(args, g_strdup(peer->target->host));
        g_ptr_array_add(args, strchr(address, ':') != NULL ? g_strdup_printf("[%s]", address)
                                                           : g_strdup(address));
    }
    g_ptr_array_add(args, NULL);
    ssh_script(doctor->ssh[visit->index], reach_script, (const char *const *)args->pdata,
               REACH_SECONDS, &node->reach, &node->error);
}

static void
visits_run(Doctor *doctor, ThreadFn fn)
{
    g_autofree Visit *visits = g_new0(Visit, doctor->n);
    g_autofree pthread_t *threads = g_new0(pthread_t, doctor->n);

    for (unsigned i = 0; i < doctor->n; i++) {
        visits[i] = (Visit){.doctor = doctor, .index = i};
        threads[i] = thread_start("doctor", fn, &visits[i]);
    }
    for (unsigned i = 0; i < doctor->n; i++)
        pthread_join(threads[i], NULL);
}

GPtrArray *
doctor_run(const NodeTarget *const *targets, unsigned n, const char *ssh_config, int cancel_fd,
           bool drift_only, GError **err)
{
    Doctor doctor = {
        .nodes = g_new0(DoctorNode, n),
        .ssh = g_new0(NodeSsh *, n),
        .n = n,
        .ssh_config = ssh_config,
        .cancel_fd = cancel_fd,
        .drift_only = drift_only,
    };
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
    bool cancelled = false;

    for (unsigned i = 0; i < n; i++)
        doctor.nodes[i].target = targets[i];
    visits_run(&doctor, visit_look);
    visits_run(&doctor, visit_reach);
    doctor_judge(doctor.nodes, n, drift_only, checks);
    for (unsigned i = 0; i < n; i++) {
        DoctorNode *node = &doctor.nodes[i];
        cancelled = cancelled || err_is(node->error, ERR_CANCELLED);
        ssh_close(doctor.ssh[i]);
        g_clear_pointer(&node->facts, g_hash_table_unref);
        g_clear_error(&node->error);
        g_free(node->drift);
        g_free(node->reach);
    }
    g_free(doctor.nodes);
    g_free(doctor.ssh);
    if (cancelled) {
        err_set(err, ERR_CANCELLED, "called off");
        return NULL;
    }
    return g_steal_pointer(&checks);
}
