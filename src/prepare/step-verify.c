/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-verify.c: proof from the other nodes that a node serves as it was told to, and only so
 *
 * Under socket activation libvirtd ignores part of its own configuration, so nothing but a peer's
 * view proves which address, port and authentication are in effect. Each node asks all others, some
 * at a time, and begins behind itself, so that not all ask the same one at once. What only somebody
 * who is not on the firewall's list would see cannot be asked from a peer. */
#include "prepare/prepare-node.h"

#include <string.h>

#define AT_ONCE        8  /* as the script has it */
#define ONE_SECONDS    90 /* what one may need, should everything run into its limit */
#define SCRIPT_SECONDS 30
#define FAILURES_SHOWN 4

/* $1 transport; then for each node name, address, and addresses that must not answer. Prints "ok
 * name", "ok address" or "no WHY" in their order. libvirtd says one byte, 1, once it has accepted a
 * client's certificate; with TLS 1.3 a handshake alone proves nothing. A name that stands for an
 * address where it must not listen is not asked. */
static const char reach_script[] =
    "set -u\n"
    "transport=$1; shift\n"
    "dir=$(mktemp -d) || exit 1\n"
    "trap 'rm -rf -- \"$dir\"' EXIT\n"
    "case $transport in\n"
    "tls) port=16514 closed=16509 ;;\n"
    "tcp) port=16509 closed=16514 ;;\n"
    "*) port= closed='16509 16514' ;;\n"
    "esac\n"
    "shown() { case $1 in *:*) echo \"[$1]\" ;; *) echo \"$1\" ;; esac; }\n"
    "answers() { timeout 4 bash -c ': <\"/dev/tcp/$0/$1\"' \"$1\" \"$2\" 2>/dev/null; }\n"
    "named() {\n"
    "  [ -z \"$3\" ] || { getent ahosts \"$1\" | cut -d' ' -f1 | grep -qxF \"$2\"; return; }\n"
    "  getent ahosts \"$1\" >/dev/null\n"
    "}\n"
    "virsh_asks() {\n"
    "  uri=qemu+$transport://$(shown \"$1\")/system\n"
    "  said=$(timeout 20 virsh -q -c \"$uri\" hostname 2>&1 >/dev/null) && return\n"
    "  [ $? != 124 ] || said='no answer within 20 seconds'\n"
    "  said=$(printf '%s' \"$said\" | grep -v ': info : \\|: warning : ' | tr '\\n' ' ')\n"
    "  echo \"no $uri: $said\"; return 1\n"
    "}\n"
    "goes_on() {\n"
    "  out=$dir/$i.tls at=$(shown \"$1\"):$port; shift\n"
    "  : >\"$out\"\n"
    "  timeout 15 openssl s_client -quiet -connect \"$at\" \"$@\" </dev/null >\"$out\" 2>/dev/null "
    "&\n"
    "  while kill -0 $! 2>/dev/null && [ ! -s \"$out\" ]; do sleep 0.1; done\n"
    "  kill $! 2>/dev/null; wait $! 2>/dev/null\n"
    "  [ \"$(head -c 1 \"$out\" | od -An -tu1 | tr -d ' ')\" = 1 ]\n"
    "}\n"
    "one() {\n"
    "  virsh_asks \"$2\" || return\n"
    "  how=address\n"
    "  if named \"$@\"; then virsh_asks \"$1\" || return; how=name; fi\n"
    "  for p in $closed; do\n"
    "    ! answers \"$2\" $p ||\n"
    "      { echo \"no port $p of $2 is open, though transport $transport does not use it\"; "
    "return; }\n"
    "  done\n"
    "  for a in $3; do\n"
    "    [ -z \"$port\" ] || ! answers \"$a\" $port ||\n"
    "      { echo \"no port $port answers on $a too, not on $2 alone\"; return; }\n"
    "  done\n"
    "  if [ $transport = tls ]; then\n"
    "    ! goes_on \"$2\" -CAfile /etc/pki/CA/cacert.pem ||\n"
    "      { echo \"no libvirt lets clients without a certificate in\"; return; }\n"
    "    goes_on \"$2\" -cert /etc/pki/libvirt/clientcert.pem "
    "-key /etc/pki/libvirt/private/clientkey.pem ||\n"
    "      { echo \"no libvirt does not answer to this node's certificate by openssl\"; return; }\n"
    "  fi\n"
    "  echo \"ok $how\"\n"
    "}\n"
    "i=0\n"
    "while [ $# -gt 2 ]; do\n"
    "  one \"$1\" \"$2\" \"$3\" >\"$dir/$i\" 2>&1 &\n"
    "  i=$((i + 1)); shift 3\n"
    "  [ $((i % 8)) != 0 ] || wait\n"
    "done\n"
    "wait\n"
    "k=0\n"
    "while [ $k -lt $i ]; do head -n 1 \"$dir/$k\"; k=$((k + 1)); done";

/* The one that the others use: where it was told to listen, else where ssh reached it. */
static const char *
address_of(const PrepareNode *node)
{
    const char *listen = node->run->options->listen_address;
    unsigned where;

    return listen != NULL &&
                   g_ptr_array_find_with_equal_func(node->addresses, listen, g_str_equal, &where)
               ? listen
               : g_ptr_array_index(node->addresses, 0);
}

/* Where nobody must answer: on every other address, if it was told to listen on one. */
static char *
silent_addresses(const PrepareNode *node)
{
    const char *listen = address_of(node);
    GString *silent = g_string_new(NULL);

    for (unsigned i = 0; i < node->addresses->len; i++) {
        const char *address = g_ptr_array_index(node->addresses, i);
        if (node->run->options->listen_address != NULL &&
            g_str_equal(listen, node->run->options->listen_address) &&
            !g_str_equal(address, listen))
            g_string_append_printf(silent, "%s%s", silent->len > 0 ? " " : "", address);
    }
    return g_string_free(silent, FALSE);
}

/* Nodes to ask about: all others, or this one if there is no other. */
static GPtrArray *
asked_of(PrepareNode *node)
{
    PrepareRun *run = node->run;
    GPtrArray *asked = g_ptr_array_new();

    for (unsigned i = 1; i < run->n; i++)
        g_ptr_array_add(asked, &run->nodes[(node->index + i) % run->n]);
    if (asked->len == 0)
        g_ptr_array_add(asked, node);
    return asked;
}

static bool
answers_judge(const PrepareNode *node, GPtrArray *asked, const char *answer, GString *unnamed,
              GError **err)
{
    g_auto(GStrv) lines = g_strsplit(answer, "\n", -1);
    g_autoptr(GString) failures = g_string_new(NULL);
    unsigned failed = 0;

    if (g_strv_length(lines) != asked->len + 1)
        return err_set(err, ERR_BACKEND, "%s: it could not ask the other nodes: is its /tmp full?",
                       node->target->text);
    for (unsigned i = 0; i < asked->len; i++) {
        const PrepareNode *other = g_ptr_array_index(asked, i);
        const char *why = g_str_has_prefix(lines[i], "no ") ? lines[i] + 3 : lines[i];
        if (g_str_equal(lines[i], "ok address"))
            g_string_append_printf(unnamed, " %s", other->target->host);
        if (g_str_has_prefix(lines[i], "ok ") || failed++ >= FAILURES_SHOWN)
            continue;
        g_string_append_printf(failures, "%s%s: %.300s", failed > 1 ? "; " : "",
                               other->target->text,
                               text_is_clean(why, 4096, false) ? why : "no sensible answer");
    }
    if (failed > FAILURES_SHOWN)
        g_string_append_printf(failures, "; and %u more", failed - FAILURES_SHOWN);
    return failed == 0 ||
           err_set(err, ERR_BACKEND, "seen from %s, %s", node->target->text, failures->str);
}

bool
step_verify(PrepareNode *node, GError **err)
{
    const PrepareRun *run = node->run;
    g_autoptr(GPtrArray) asked = asked_of(node), args = g_ptr_array_new();
    g_autoptr(GPtrArray) kept = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) unnamed = g_string_new(NULL);
    int rounds = (int)((asked->len + AT_ONCE - 1) / AT_ONCE);
    g_autofree char *answer = NULL;

    g_ptr_array_add(args, (void *)transport_names[run->options->transport]);
    for (unsigned i = 0; i < asked->len; i++) {
        const PrepareNode *other = g_ptr_array_index(asked, i);
        char *silent = silent_addresses(other);
        g_ptr_array_add(kept, silent);
        g_ptr_array_add(args, other->target->host);
        g_ptr_array_add(args, (void *)address_of(other));
        g_ptr_array_add(args, silent);
    }
    g_ptr_array_add(args, NULL);
    if (!ssh_script(node->ssh, reach_script, (const char *const *)args->pdata,
                    SCRIPT_SECONDS + rounds * ONE_SECONDS, &answer, err) ||
        !answers_judge(node, asked, answer, unnamed, err))
        return false;
    g_autofree char *detail =
        run->n == 1 ? g_strdup("reaches itself; there is no other node to ask")
        : unnamed->len > 0
            ? g_strdup_printf("reaches every other node; these by address only, it has no name "
                              "for them:%s",
                              unnamed->str)
            : g_strdup("reaches every other node");
    node_step(node, "verify", STEP_SAME, detail);
    return true;
}
