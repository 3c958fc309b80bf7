# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2001,SC2034,SC2317 # used, and called by name, by the files that include this one
# common.sh: what the suites on bare machines share: the lab, test cases, and words for "it says so" and "it refuses".
#
# A suite includes this, calls bare_up with the options of lab/lab up, prints its plan and calls case_run for each case.
# GODWIT_BUILD: where godwit was built. Needs root and what lab/packages and lab/packages-bare list.

TOP=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
BUILD=${GODWIT_BUILD:-$TOP/build}
GODWIT=$BUILD/src/cli/godwit
LAB=$TOP/lab/lab
DIR=${GODWIT_LAB_DIR:-/var/tmp/godwit-lab}
SSH="$DIR/ssh/config"
NODES=(root@host1 root@host2)
PKIPATH="pkipath=$DIR/godwit/pki/libvirt"
number=0
failed=0

skip_all()
{
    echo "1..0 # SKIP $*"
    exit 0
}

# bare_up [OPTION of lab up]…: bare nodes and a controller that knows none of them, with the clients' environment. A lab that is
# up already is used and left up.
bare_up()
{
    local p
    [[ $EUID == 0 ]] || skip_all "needs root"
    for p in debootstrap dpkg-scanpackages systemd-nspawn nft jq; do
        command -v "$p" >/dev/null || skip_all "$p is not installed"
    done
    [[ -x $GODWIT ]] || skip_all "$GODWIT is not built"
    export GODWIT_BUILD=$BUILD
    if [[ ! -e /run/godwit-lab ]]; then
        trap '"$LAB" down' EXIT
        trap 'exit 143' TERM INT
        "$LAB" up --bare "$@" >&2 || { echo "Bail out! the bare lab did not come up"; exit 1; }
    fi
    eval "$("$LAB" env)"
}

# case_run NAME COMMAND…: one test case; COMMAND is a function that succeeds. GODWIT_BARE_ONLY: a pattern of the names of those
# to run, for whoever works on one of them; the others count as skipped.
case_run()
{
    local name=$1 out t0=$SECONDS
    shift
    number=$((number + 1))
    # shellcheck disable=SC2053 # a pattern
    if [[ -n ${GODWIT_BARE_ONLY:-} && $name != $GODWIT_BARE_ONLY ]]; then
        echo "ok $number - $name # SKIP not asked for"
        return
    fi
    if out=$("$@" 2>&1); then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        failed=1
        sed 's/^/# /' <<<"$out" | tail -40
    fi
    printf '== %s (%s s)\n%s\n' "$name" $((SECONDS - t0)) "$out" >&2
}

prepare()
{
    "$GODWIT" host prepare --ssh-config "$SSH" --controller 10.88.0.254 "$@"
}

doctor()
{
    "$GODWIT" doctor --ssh-config "$SSH" "$@" "${NODES[@]}"
}

# says TEXT COMMAND…: its output contains TEXT, whatever its end.
says()
{
    local wanted=$1 out rc=0
    shift
    out=$("$@" 2>&1) || rc=$?
    printf '%s\n(exit status %s)\n' "$out" "$rc"
    [[ $out == *"$wanted"* ]] && return
    printf 'and it does not say: %s\n' "$wanted"
    return 1
}

# does_saying TEXT COMMAND…: it succeeds, and its output contains TEXT.
does_saying()
{
    local wanted=$1 out
    shift
    if ! out=$("$@" 2>&1); then
        printf '%s\nand it failed\n' "$out"
        return 1
    fi
    printf '%s\n' "$out"
    [[ $out == *"$wanted"* ]] && return
    printf 'and it does not say: %s\n' "$wanted"
    return 1
}

# fails_saying TEXT COMMAND…: it fails, and its output contains TEXT.
fails_saying()
{
    local wanted=$1 out
    shift
    if out=$("$@" 2>&1); then
        printf '%s\nand it did not fail\n' "$out"
        return 1
    fi
    printf '%s\n' "$out"
    [[ $out == *"$wanted"* ]] && return
    printf 'and it does not say: %s\n' "$wanted"
    return 1
}

# on HOST COMMAND…: there, as root.
on()
{
    ssh -F "$SSH" "$@"
}

# until_true SECONDS COMMAND…
until_true()
{
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "still not: $*"; return 1; }
        sleep 0.2
    done
}

# first_objects: image, flavor and network of servers.
first_objects()
{
    "$GODWIT" image create guest --file "$LAB_GUEST_IMAGE" --disk-format raw &&
        "$GODWIT" flavor create tiny --vcpus 1 --ram 256 --disk 1 && "$GODWIT" network create lab --bridge br0 &&
        "$GODWIT" subnet create lab --network lab --cidr 10.88.0.0/24 --gateway 10.88.0.254 --pool 10.88.0.100-10.88.0.200
}

# hosts_register URI: every node; %s is its name.
hosts_register()
{
    local node host
    for node in "${NODES[@]}"; do
        host=${node#*@}
        "$GODWIT" host add "$host" --address "10.88.0.${host#host}" --uri "${1/\%s/10.88.0.${host#host}}" --wait || return 1
    done
}

guest_status()
{
    "$TOP/lab/guest/ask" 10.88.0.100 status
}

guest_answers()
{
    until_true 40 guest_status
}
