/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* quota.c: how much one project may have, and whether a request still fits */

#include "model/model.h"

const Quota quota_defaults = {
    .volumes = 10,
    .snapshots = 10,
    .gigabytes = 1000,
    .per_volume_gigabytes = -1,
};

static bool
fits(int64_t limit, int64_t used, int64_t more)
{
    return more <= 0 || limit < 0 || used + more <= limit;
}

bool
quota_check(const Quota *quota, const QuotaUsage *used, const QuotaUsage *more, GError **err)
{
    if (!fits(quota->per_volume_gigabytes, 0, more->largest_gigabytes))
        return err_set(err, ERR_QUOTA,
                       "Requested volume size of %" PRId64 " GB is more than the %" PRId64
                       " GB that one volume may have",
                       more->largest_gigabytes, quota->per_volume_gigabytes);
    if (!fits(quota->volumes, used->volumes, more->volumes))
        return err_set(err, ERR_QUOTA,
                       "Maximum number of volumes allowed (%" PRId64
                       ") exceeded for quota 'volumes': %" PRId64 " are there",
                       quota->volumes, used->volumes);
    if (!fits(quota->snapshots, used->snapshots, more->snapshots))
        return err_set(err, ERR_QUOTA,
                       "Maximum number of snapshots allowed (%" PRId64
                       ") exceeded for quota 'snapshots': %" PRId64 " are there",
                       quota->snapshots, used->snapshots);
    if (!fits(quota->gigabytes, used->gigabytes, more->gigabytes))
        return err_set(err, ERR_QUOTA,
                       "Requested volume or snapshot exceeds allowed gigabytes quota. Requested "
                       "%" PRId64 "G, quota is %" PRId64 "G and %" PRId64 "G has been consumed.",
                       more->gigabytes, quota->gigabytes, used->gigabytes);
    return true;
}
