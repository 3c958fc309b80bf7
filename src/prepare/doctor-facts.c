/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-facts.c: what a node tells of itself, as lines KEY=VALUE
 *
 * The script only looks. What is not there is not printed, or printed empty; no line needs another,
 * so that a tool that is missing costs one check and not all. */
#include "prepare/doctor-priv.h"

#include <arpa/inet.h>
#include <string.h>

#define FACTS_MAX      400
#define KEY_MAX_BYTES  64
#define FACT_MAX_BYTES 16000

#define SCRIPT_SETTINGS                                                                            \
    "export LC_ALL=C\n"                                                                            \
    "set -f\n"                                                                                     \
    "PATH=$PATH:/usr/sbin:/sbin\n"                                                                 \
    "conf() {\n"                                                                                   \
    "  sed -n \"s/^[ \\t]*$2[ \\t]*=[ \\t]*\\\"\\{0,1\\}\\([^\\\"# ]*\\).*/\\1/p\" "               \
    "\"/etc/libvirt/$1.conf\" 2>/dev/null |\n"                                                     \
    "    head -n 1\n"                                                                              \
    "}\n"                                                                                          \
    "or() { if [ -n \"$1\" ]; then echo \"$1\"; else echo \"$2\"; fi; }\n"                         \
    "lines() { printf '%s\\n' \"$x\" | sed -n \"$1\"; }\n"                                         \
    "echo \"system=$(. /etc/os-release; echo \"$PRETTY_NAME\"), kernel $(uname -r)\"\n"            \
    "echo \"hostname=$(cat /proc/sys/kernel/hostname)\"\n"                                         \
    "[ ! -e /var/backups/godwit/written ] || echo prepared=yes\n"                                  \
    "all=$(ip -o addr show scope global | sed -n 's|.* inet6\\{0,1\\} \\([^/ ]*\\)[/ ].*|\\1|p' "  \
    "| head -n 40)\n"                                                                              \
    "echo \"addresses=$(echo $all | tr ' ' ,)\"\n"                                                 \
    "peer=$1\n"                                                                                    \
    "set -- ${SSH_CONNECTION:-}\n"                                                                 \
    "x=${3:-}; x=${x%%%*}\n"                                                                       \
    "[ -n \"$x\" ] || x=$(echo $all | cut -d' ' -f1)\n"                                            \
    "own=$x\n"                                                                                     \
    "echo \"address=$own\"\n"                                                                      \
    "d=libvirtd p=libvirtd\n"                                                                      \
    "! systemctl -q is-enabled virtqemud.socket 2>/dev/null || d=virtqemud p=virtproxyd\n"         \
    "echo \"daemon=$d\"\n"                                                                         \
    "for u in tls tcp; do\n"                                                                       \
    "  ! systemctl -q is-enabled $p-$u.socket 2>/dev/null || echo "                                \
    "\"listen.socket=$p-$u.socket\"\n"                                                             \
    "done\n"                                                                                       \
    "echo \"listen.service=$p.service\"\n"                                                         \
    "for k in listen_tls listen_tcp auth_tls auth_tcp tls_no_verify_certificate; do\n"             \
    "  echo \"conf.$k=$(conf $p $k)\"\n"                                                           \
    "done\n"                                                                                       \
    "for k in user group dynamic_ownership migration_port_min migration_port_max "                 \
    "migration_address \\\n"                                                                       \
    "  migrate_tls_force migrate_tls_x509_verify; do\n"                                            \
    "  echo \"qemu.$k=$(conf qemu $k)\"\n"                                                         \
    "done\n"                                                                                       \
    "for n in 16509 16514; do\n"                                                                   \
    "  x=$(ss -Hltn \"sport = :$n\" | sed -n 's/^LISTEN *[0-9]* *[0-9]* *\\([^ ]*\\) .*/\\1/p' | " \
    "head -n 8)\n"                                                                                 \
    "  [ -z \"$x\" ] || echo \"port.$n=$(echo $x | tr ' ' ,)\"\n"                                  \
    "done\n"

#define SCRIPT_CERTIFICATES                                                                    \
    "certificate() {\n"                                                                        \
    "  x=$(openssl x509 -in \"$2\" -noout -enddate 2>/dev/null) || return 0\n"                 \
    "  x=$(( $(date -d \"${x#*=}\" +%s) - $(date +%s) ))\n"                                    \
    "  echo \"$1.days=$(( x < 0 ? -1 - -x / 86400 : x / 86400 ))\"\n"                          \
    "  x=$(openssl x509 -in \"$2\" -noout -ext subjectAltName 2>/dev/null | sed 1d | tr -d ' " \
    "\\n')\n"                                                                                  \
    "  echo \"$1.names=$x\"\n"                                                                 \
    "  ! openssl verify -CAfile \"$3\" \"$2\" >/dev/null 2>&1 || echo \"$1.verify=yes\"\n"     \
    "  x=$(openssl pkey -in \"$4\" -pubout 2>/dev/null)\n"                                     \
    "  [ \"$(openssl x509 -in \"$2\" -noout -pubkey)\" != \"$x\" ] || echo \"$1.key=yes\"\n"   \
    "}\n"                                                                                      \
    "certificate cert \"$(or \"$(conf $p cert_file)\" /etc/pki/libvirt/servercert.pem)\" \\\n" \
    "  \"$(or \"$(conf $p ca_file)\" /etc/pki/CA/cacert.pem)\" \\\n"                           \
    "  \"$(or \"$(conf $p key_file)\" /etc/pki/libvirt/private/serverkey.pem)\"\n"             \
    "x=$(or \"$(conf qemu default_tls_x509_cert_dir)\" /etc/pki/qemu)\n"                       \
    "q=$(or \"$(conf qemu migrate_tls_x509_cert_dir)\" \"$x\")\n"                              \
    "echo \"qcert.dir=$q\"\n"                                                                  \
    "certificate qcert \"$q/server-cert.pem\" \"$q/ca-cert.pem\" \"$q/server-key.pem\"\n"

#define SCRIPT_LIBVIRT                                                                            \
    "v() { timeout 20 virsh -q -c qemu:///system \"$@\" 2>/dev/null; }\n"                         \
    "x=$(v version)\n"                                                                            \
    "echo \"libvirt=$(lines 's/^Using library: libvirt //p')\"\n"                                 \
    "echo \"qemu=$(lines 's/^Running hypervisor: QEMU //p')\"\n"                                  \
    "x=$(v capabilities | sed -n \"/<arch name='$(uname -m)'/,/<\\/arch>/p\")\n"                  \
    "for k in pc q35 virt; do\n"                                                                  \
    "  n=$(lines \"s/.*<machine canonical='\\([A-Za-z0-9._-]*\\)'[^>]*>$k<.*/\\1/p\" | head -n "  \
    "1)\n"                                                                                        \
    "  echo \"machine.$k=$n\"\n"                                                                  \
    "done\n"                                                                                      \
    "n=$(lines 's/.*<machine[^>]*>\\([A-Za-z0-9._-]*\\)<.*/\\1/p' | sort -u | tr '\\n' ,)\n"      \
    "echo \"machines=$n\"\n"                                                                      \
    "x=$(v domcapabilities)\n"                                                                    \
    "t=$(lines 's|.*<domain>\\([a-z]*\\)</domain>.*|\\1|p')\n"                                    \
    "echo \"virt=$t\"\n"                                                                          \
    "x=$(printf '%s\\n' \"$x\" | v hypervisor-cpu-baseline --virttype \"$t\" --features "         \
    "/dev/stdin)\n"                                                                               \
    "echo \"cpu.model=$(lines 's|.*<model[^>]*>\\([^<]*\\)</model>.*|\\1|p')\"\n"                 \
    "echo \"cpu.vendor=$(lines 's|.*<vendor>\\([^<]*\\)</vendor>.*|\\1|p')\"\n"                   \
    "n=$(lines \"s/.*<feature policy='require' name='\\([A-Za-z0-9._-]*\\)'.*/\\1/p\" | sort -u " \
    "| tr '\\n' ,)\n"                                                                             \
    "echo \"cpu.features=$n\"\n"                                                                  \
    "for f in /usr/lib/$(uname -m)-linux-gnu/qemu /usr/lib64/qemu-kvm /usr/lib64/qemu "           \
    "/usr/lib/qemu; do\n"                                                                         \
    "  [ ! -e $f/block-rbd.so ] || echo \"rbd=$f/block-rbd.so\"\n"                                \
    "done\n"                                                                                      \
    "[ ! -e /etc/ceph/ceph.conf ] || echo ceph.conf=yes\n"                                        \
    "u=$(conf qemu user) g=$(conf qemu group)\n"                                                  \
    "echo \"qemu.uid=$(id -u \"${u#+}\" 2>/dev/null)\"\n"                                         \
    "echo \"qemu.gid=$(getent group \"${g#+}\" | cut -d: -f3)\"\n"                                \
    "if [ -n \"$g\" ] && [ -e \"$q/server-key.pem\" ]; then\n"                                    \
    "  ! setpriv --reuid \"${u#+}\" --regid \"${g#+}\" --clear-groups cat \"$q/server-key.pem\" " \
    "\\\n"                                                                                        \
    "    >/dev/null 2>&1 || echo qcert.readable=yes\n"                                            \
    "fi\n"

#define SCRIPT_SYSTEM                                                                              \
    "if x=$(nft -n list table inet godwit_node 2>/dev/null); then\n"                               \
    "  echo firewall=yes\n"                                                                        \
    "  n=$(lines '/elements = {/,/}/p' | sed 's/.*elements = {//; s/}.*/,/' | tr -d ' \\t\\n')\n"  \
    "  echo \"firewall.peers=${n%,}\"\n"                                                           \
    "  n=$(lines 's/.*tcp dport { \\([0-9, -]*\\) } ip saddr.*accept.*/\\1/p' | head -n 1 | tr "   \
    "-d ' ')\n"                                                                                    \
    "  echo \"firewall.ports=$n\"\n"                                                               \
    "fi\n"                                                                                         \
    "[ ! -e /etc/systemd/system/godwit-firewall.service ] || echo firewall.unit=yes\n"             \
    "x=$(nft -n list chains 2>/dev/null)\n"                                                        \
    "echo \"firewall.drops=$(lines '/hook input.*policy drop/p' | wc -l)\"\n"                      \
    "x=none\n"                                                                                     \
    "[ ! -c /dev/userfaultfd ] || x=device\n"                                                      \
    "[ \"$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)\" != 1 ] || x=sysctl\n"          \
    "echo \"userfaultfd=$x\"\n"                                                                    \
    "[ ! -c /dev/kvm ] || echo kvm=yes\n"                                                          \
    "echo \"vendor=$(sed -n 's/^vendor_id[^:]*: *//p' /proc/cpuinfo | head -n 1)\"\n"              \
    "x=\n"                                                                                         \
    "for f in /var/lib/libvirt /var/log/libvirt /var/lib; do\n"                                    \
    "  n=$(df -Pm $f 2>/dev/null | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\\([0-9]*\\) .*/\\1/p')\n"   \
    "  [ -z \"$n\" ] || x=\"$x$f:$n,\"\n"                                                          \
    "done\n"                                                                                       \
    "echo \"disk=$x\"\n"                                                                           \
    "x=\n"                                                                                         \
    "for f in $(ls /sys/kernel/mm/hugepages 2>/dev/null); do\n"                                    \
    "  n=${f##*-} f=/sys/kernel/mm/hugepages/$f\n"                                                 \
    "  x=\"$x${n%kB}:$(cat $f/nr_hugepages)/$(cat $f/free_hugepages),\"\n"                         \
    "done\n"                                                                                       \
    "echo \"hugepages=$x\"\n"                                                                      \
    "echo \"memory.kib=$(sed -n 's/^MemTotal: *\\([0-9]*\\) .*/\\1/p' /proc/meminfo)\"\n"          \
    "m=$(systemctl show -p MainPID --value $d.service 2>/dev/null)\n"                              \
    "if [ \"${m:-0}\" != 0 ]; then\n"                                                              \
    "  echo \"memlock=$(sed -n 's/^Max locked memory *[^ ]* *\\([^ ]*\\) .*/\\1/p' "               \
    "/proc/$m/limits)\"\n"                                                                         \
    "  x=$(sed -n 's/^CapEff:[ \\t]*//p' /proc/$m/status)\n"                                       \
    "  [ $((0x${x:-0} >> 24 & 1)) = 0 ] || echo sysresource=yes\n"                                 \
    "fi\n"                                                                                         \
    "for f in chrony chronyd ntpsec ntp ntpd systemd-timesyncd; do\n"                              \
    "  ! systemctl -q is-active $f.service 2>/dev/null || echo sync.by=$f\n"                       \
    "done\n"                                                                                       \
    "echo \"sync=$(timedatectl show -p NTPSynchronized --value 2>/dev/null)\"\n"                   \
    "echo \"container=$(systemd-detect-virt -c 2>/dev/null)\"\n"                                   \
    "echo \"overcommit=$(cat /proc/sys/vm/overcommit_memory)\"\n"                                  \
    "echo \"window_scaling=$(cat /proc/sys/net/ipv4/tcp_window_scaling 2>/dev/null)\"\n"           \
    "x=$(getent ahosts \"${peer:-none}\" | sed -n '1s/ .*//p')\n"                                  \
    "f=$(ip -o route get \"${x:-none}\" 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')\n"    \
    "[ -n \"$f\" ] || f=$(ip -o addr show | grep -F \" $own/\" | sed -n '1s/^[0-9]*: \\([^ ]*\\) " \
    ".*/\\1/p')\n"                                                                                 \
    "if [ -n \"$f\" ] && [ \"$f\" != lo ] && [ -e \"/sys/class/net/$f/mtu\" ]; then\n"             \
    "  echo \"mtu=$(cat \"/sys/class/net/$f/mtu\")\"\n"                                            \
    "  echo \"mtu.dev=$f\"\n"                                                                      \
    "fi\n"                                                                                         \
    "true"

const char doctor_facts_script[] = SCRIPT_SETTINGS SCRIPT_CERTIFICATES SCRIPT_LIBVIRT SCRIPT_SYSTEM;

/* A key is a name of ours; anything else is not from the script. */
static bool
key_is_good(const char *line, size_t size)
{
    return size >= 1 && size <= KEY_MAX_BYTES &&
           strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789._") == size;
}

GHashTable *
doctor_facts_parse(const char *answer)
{
    GHashTable *facts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) lines = g_strsplit(answer, "\n", FACTS_MAX);

    for (char **line = lines; *line != NULL; line++) {
        const char *equals = strchr(*line, '=');
        if (equals != NULL && key_is_good(*line, (size_t)(equals - *line)) &&
            text_is_clean(equals + 1, FACT_MAX_BYTES, true))
            g_hash_table_insert(facts, g_strndup(*line, (gsize)(equals - *line)),
                                g_strdup(equals + 1));
    }
    return facts;
}

const char *
fact(const DoctorNode *node, const char *key)
{
    const char *value = node->facts != NULL ? g_hash_table_lookup(node->facts, key) : NULL;
    return value != NULL ? value : "";
}

int64_t
fact_number(const DoctorNode *node, const char *key, int64_t otherwise)
{
    int64_t number = otherwise;
    parse_int64(fact(node, key), INT64_MIN, INT64_MAX, &number);
    return number;
}

bool
fact_is(const DoctorNode *node, const char *key, const char *value)
{
    return g_str_equal(fact(node, key), value);
}

bool
list_has(const char *comma_list, const char *word)
{
    size_t size = strlen(word);

    for (const char *at = comma_list; *at != '\0'; at += *at == ',') {
        size_t length = strcspn(at, ",");
        if (length == size && memcmp(at, word, size) == 0)
            return true;
        at += length;
    }
    return false;
}

char *
address_normal(const char *text)
{
    char buffer[INET6_ADDRSTRLEN];
    struct in6_addr binary;

    if (inet_pton(AF_INET, text, &binary) == 1)
        return g_strdup(inet_ntop(AF_INET, &binary, buffer, sizeof buffer));
    if (inet_pton(AF_INET6, text, &binary) == 1)
        return g_strdup(inet_ntop(AF_INET6, &binary, buffer, sizeof buffer));
    return NULL;
}

const char *
node_address(const DoctorNode *node)
{
    g_autofree char *normal = address_normal(fact(node, "address"));
    return node->address != NULL ? node->address : normal != NULL ? fact(node, "address") : "";
}

const char *
node_hostname(const DoctorNode *node)
{
    const char *name = fact(node, "hostname");
    g_autoptr(NodeTarget) target = *name != '\0' ? node_target_parse(name, NULL) : NULL;
    bool good = target != NULL && target->user == NULL && target->port == 0;
    return good ? name : "";
}
