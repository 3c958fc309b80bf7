/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* placement.c: which host a server goes to
 *
 * Every host is judged by the same filters in a fixed order, and the first that fails is its
 * reason: what an operator has to mend first. The hosts that fit are ordered by free RAM, then
 * number of servers, then name, so that the same facts always give the same answer. Whether a
 * guest's CPU fits is asked of the destination's hypervisor and is not decided here. */

#include "model/model.h"

#define HOSTS_NAMED_IN_ERROR 16

typedef struct Candidate {
    PlacementVerdict *verdict;
    double ram_free;
    int64_t servers;
} Candidate;

void
placement_verdict_free(PlacementVerdict *verdict)
{
    if (!verdict)
        return;
    g_free(verdict->reason);
    g_free(verdict);
}

static void
candidate_free(void *opaque)
{
    Candidate *candidate = opaque;

    placement_verdict_free(candidate->verdict);
    g_free(candidate);
}

static double
ratio_or_one(double ratio)
{
    return ratio > 0 ? ratio : 1.0;
}

static int64_t
ram_present(const PlacementRequest *request, const Host *host)
{
    return MAX(host->memory_mb - MAX(request->reserved_ram_mb, 0), 0);
}

static double
ram_free(const PlacementRequest *request, const HostLoad *load)
{
    return (double)ram_present(request, load->host) * ratio_or_one(request->ram_ratio) -
           (double)load->ram_mb_used;
}

static double
vcpus_free(const PlacementRequest *request, const HostLoad *load)
{
    return (double)load->host->vcpus * ratio_or_one(request->cpu_ratio) - (double)load->vcpus_used;
}

static char *
with_detail(const char *what, const char *detail)
{
    return detail && *detail ? g_strdup_printf("%s (%s)", what, detail) : g_strdup(what);
}

static char *
state_reason(const PlacementRequest *request, const Host *host)
{
    if (host->forced_down)
        return g_strdup("is forced down by an administrator");
    switch (host->state) {
    case HOST_UP:
        break;
    case HOST_DOWN:
        return with_detail("is down", host->state_reason);
    case HOST_UNKNOWN:
        return g_strdup("has not been reached yet");
    }
    if (!host->enabled && !request->ignore_disabled)
        return with_detail("is disabled", host->disabled_reason);
    return NULL;
}

/* NULL: fits. A server may not be larger than the machine, whatever the ratio: ratios are for many
 * small ones. */
static char *
size_reason(const PlacementRequest *request, const HostLoad *load)
{
    const Host *host = load->host;

    if (request->vcpus > host->vcpus)
        return g_strdup_printf("has %" G_GINT64_FORMAT " CPUs, %" G_GINT64_FORMAT " wanted",
                               host->vcpus, request->vcpus);
    if ((double)request->vcpus > vcpus_free(request, load))
        return g_strdup_printf("has %.0f virtual CPUs free, %" G_GINT64_FORMAT " wanted",
                               MAX(vcpus_free(request, load), 0), request->vcpus);
    if (request->ram_mb > ram_present(request, host))
        return g_strdup_printf("has %" G_GINT64_FORMAT " MB of RAM for servers, %" G_GINT64_FORMAT
                               " wanted",
                               ram_present(request, host), request->ram_mb);
    if ((double)request->ram_mb > ram_free(request, load))
        return g_strdup_printf("has %.0f MB of RAM free, %" G_GINT64_FORMAT " wanted",
                               MAX(ram_free(request, load), 0), request->ram_mb);
    return NULL;
}

static char *
host_reason(const PlacementRequest *request, const HostLoad *load)
{
    const Host *host = load->host;
    char *reason;

    if (request->only_host && g_strcmp0(request->only_host, host->name) != 0)
        return g_strdup("is not the host asked for");
    if (request->exclude_host && g_strcmp0(request->exclude_host, host->name) == 0)
        return g_strdup("is where it runs already");
    reason = state_reason(request, host);
    if (reason)
        return reason;
    if (request->virt_type && g_strcmp0(request->virt_type, host->virt_type) != 0)
        return g_strdup_printf("runs guests with %s, %s wanted",
                               host->virt_type ? host->virt_type : "an unknown hypervisor",
                               request->virt_type);
    if (request->needs_storage && !host->storage_visible)
        return with_detail("does not see the storage", host->storage_reason);
    return size_reason(request, load);
}

static int
candidate_compare(const void *left_item, const void *right_item)
{
    const Candidate *left = *(const Candidate *const *)left_item;
    const Candidate *right = *(const Candidate *const *)right_item;
    bool left_fits = left->verdict->reason == NULL;
    bool right_fits = right->verdict->reason == NULL;

    if (left_fits != right_fits)
        return left_fits ? -1 : 1;
    if (left_fits && left->ram_free != right->ram_free)
        return left->ram_free > right->ram_free ? -1 : 1;
    if (left_fits && left->servers != right->servers)
        return left->servers < right->servers ? -1 : 1;
    return g_strcmp0(left->verdict->host->name, right->verdict->host->name);
}

GPtrArray *
placement_judge(const PlacementRequest *request, const HostLoad *loads, size_t n_loads)
{
    g_autoptr(GPtrArray) candidates = g_ptr_array_new_with_free_func(candidate_free);
    GPtrArray *verdicts =
        g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))placement_verdict_free);

    for (size_t i = 0; i < n_loads; i++) {
        Candidate *candidate = g_new0(Candidate, 1);

        candidate->verdict = g_new0(PlacementVerdict, 1);
        candidate->verdict->host = loads[i].host;
        candidate->verdict->reason = host_reason(request, &loads[i]);
        candidate->ram_free = ram_free(request, &loads[i]);
        candidate->servers = loads[i].servers;
        g_ptr_array_add(candidates, candidate);
    }
    g_ptr_array_sort(candidates, candidate_compare);
    for (unsigned i = 0; i < candidates->len; i++) {
        Candidate *candidate = g_ptr_array_index(candidates, i);

        g_ptr_array_add(verdicts, g_steal_pointer(&candidate->verdict));
    }
    return verdicts;
}

char *
placement_choose(const PlacementRequest *request, const HostLoad *loads, size_t n_loads,
                 GError **err)
{
    g_autoptr(GPtrArray) verdicts = placement_judge(request, loads, n_loads);
    g_autoptr(GString) reasons = g_string_new(NULL);
    unsigned named = 0, left_out = 0;

    if (verdicts->len > 0) {
        const PlacementVerdict *best = g_ptr_array_index(verdicts, 0);

        if (!best->reason)
            return g_strdup(best->host->name);
    }
    for (unsigned i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (request->only_host && g_strcmp0(request->only_host, verdict->host->name) != 0)
            continue;
        if (named == HOSTS_NAMED_IN_ERROR) {
            left_out++;
            continue;
        }
        g_string_append_printf(reasons, "%s%s %s", named++ ? "; " : "", verdict->host->name,
                               verdict->reason);
    }
    if (left_out)
        g_string_append_printf(reasons, "; and %u more", left_out);
    if (!named && request->only_host)
        g_string_append_printf(reasons, "there is no host %s", request->only_host);
    else if (!named)
        g_string_append(reasons, "no host is registered; add one with 'godwit host add'");
    err_set(err, ERR_CONFLICT, "No valid host was found: %s", reasons->str);
    return NULL;
}

bool
placement_host_is_open(const Host *host, GError **err)
{
    const char *name = host->name;

    if (host->forced_down)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is forced down. "
                       "Lift that with 'nova service-force-down --unset', or name another host.",
                       name);
    if (host->state != HOST_UP)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is %s (%s). Name "
                       "another host, or bring it up first.",
                       name, host_state_names[host->state],
                       host->state_reason ? host->state_reason : "no reason is recorded");
    if (!host->enabled)
        return err_set(err, ERR_INVALID,
                       "Compute service of %s is unavailable at this time: it is disabled (%s). "
                       "Enable it with 'openstack compute service set --enable %s nova-compute', "
                       "or name another host.",
                       name, host->disabled_reason ? host->disabled_reason : "no reason given",
                       name);
    return true;
}
