# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ceph.sh: a Ceph cluster in the lab: one monitor, one manager, OSDs on files, in a network namespace of its own.
#
# Everything is in STATE/ceph: configuration, keyrings, data, logs. Nothing is in /etc/ceph, so whoever talks to this
# cluster names its configuration (CEPH_CONF, or --conf). A daemon is known by that file among its arguments. The
# namespace has a link to lab0 like a node's: cutting a node or the controller off from Ceph is a matter of one address.

ceph_paths()
{
    CEPH_DIR=$STATE/ceph
    CEPH_CONF=$CEPH_DIR/ceph.conf
    export CEPH_CONF
}

ceph_is_here()
{
    [[ -e $STATE/ceph/ceph.conf ]]
}

ceph_must_be_here()
{
    ceph_is_here || die "this lab has no Ceph cluster; it is made by: lab/lab up --ceph"
    ceph_paths
}

ceph_need_programs()
{
    local p missing=()
    for p in ceph ceph-mon ceph-mgr ceph-osd ceph-authtool monmaptool rbd; do
        command -v "$p" >/dev/null || missing+=("$p")
    done
    [[ -n $(find /usr/lib -name block-rbd.so -print -quit 2>/dev/null) ]] || missing+=("QEMU's block-rbd.so")
    ((${#missing[@]} == 0)) ||
        die "missing for --ceph: ${missing[*]}; install the packages listed in $LAB_SRC/packages-ceph"
}

ceph_write_conf()
{
    cat >"$CEPH_CONF" <<C
[global]
fsid = $1
mon host = [v2:$LAB_CEPH:3300,v1:$LAB_CEPH:6789]
mon initial members = a
public network = $LAB_NET.0/24
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
keyring = $CEPH_DIR/\$name.keyring

[mon]
mon data = $CEPH_DIR/mon.\$id
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
mon osd min down reporters = 1
osd heartbeat grace = 6
mon cluster log file =
# there is one copy: an OSD that is gone for long has its data with it
mon osd down out interval = 86400

[mgr]
mgr data = $CEPH_DIR/mgr.\$id
mgr initial modules =

[osd]
osd data = $CEPH_DIR/osd.\$id
osd objectstore = bluestore
bluestore block size = 21474836480
bluestore block create = true
bluestore fsck quick fix on mount = false
osd memory target = 939524096
osd heartbeat interval = 2
osd heartbeat grace = 6

[mon.a]
keyring = $CEPH_DIR/mon.keyring
C
    local s
    for s in mon mgr osd; do
        sed -i "s#^\[$s\]\$#&\nlog file = $CEPH_DIR/\$name.log\npid file =\nadmin socket = $CEPH_DIR/\$name.asok\nrun dir = $CEPH_DIR#" \
            "$CEPH_CONF"
    done
}

# ceph_daemon KIND ID: start a daemon of the cluster, detached; its process id is in KIND.ID.pid.
ceph_daemon()
{
    local kind=$1 id=$2
    setsid ip netns exec "$LAB_CEPH_NETNS" "ceph-$kind" -f --conf "$CEPH_CONF" -i "$id" \
        </dev/null >>"$CEPH_DIR/$kind.$id.out" 2>&1 7>&- 8>&- 9>&- &
    printf '%s\n' $! >"$CEPH_DIR/$kind.$id.pid"
}

ceph_daemon_pid()
{
    pid_of "$CEPH_DIR/$1.$2.pid" "$CEPH_CONF"
}

ceph_daemon_kill()
{
    local pid
    pid=$(ceph_daemon_pid "$1" "$2") || die "ceph-$1 $2 does not run"
    kill -KILL "$pid"
    wait_until 10 pid_ended "$pid" || die "ceph-$1 $2 ($pid) does not end after SIGKILL"
}

# in_ceph COMMAND…: the command line tools, as the cluster's administrator, never for ever.
in_ceph()
{
    timeout -k 1 60 "$@" 9>&- 8>&- 7>&-
}

ceph_mon_answers()
{
    timeout -k 1 5 ceph --connect-timeout 2 quorum_status >/dev/null
}

# The daemon itself must say so: the map may still show one that was killed as up.
ceph_osd_is_up()
{
    [[ $(timeout -k 1 5 ceph --admin-daemon "$CEPH_DIR/osd.$1.asok" status | jq -r .state) == active ]]
}

ceph_net_up()
{
    ip netns add "$LAB_CEPH_NETNS"
    ip link add lab-ceph type veth peer name eth0 netns "$LAB_CEPH_NETNS"
    ip link set lab-ceph master "$LAB_BRIDGE" up
    ip -n "$LAB_CEPH_NETNS" -batch - <<B
link set lo up
addr add $LAB_CEPH/24 dev eth0
link set eth0 up
route add default via $LAB_CONTROLLER
B
}

# ceph_osd_make N: its key, its place in the map, its empty store.
ceph_osd_make()
{
    local n=$1 uuid key d
    d=$CEPH_DIR/osd.$n
    uuid=$(</proc/sys/kernel/random/uuid)
    key=$(ceph-authtool --gen-print-key)
    mkdir -p "$d"
    printf '{"cephx_secret": "%s"}\n' "$key" | in_ceph ceph osd new "$uuid" "$n" -i - >/dev/null
    printf '[osd.%s]\nkey = %s\n' "$n" "$key" >"$CEPH_DIR/osd.$n.keyring"
    in_ceph ceph-osd --conf "$CEPH_CONF" -i "$n" --mkfs --osd-uuid "$uuid" --no-mon-config \
        --monmap "$CEPH_DIR/monmap" >>"$CEPH_DIR/osd.$n.out" 2>&1 ||
        die "osd.$n cannot be made:"$'\n'"$(tail -n 5 "$CEPH_DIR/osd.$n.out")"
    ceph_daemon osd "$n"
}

# ceph_pools: pools by purpose, and the user that the controller and the nodes are: RBD in these pools, and the blocklist
# (profile rbd may add to it, but not take away).
ceph_pools()
{
    local p
    {
        for p in images instances volumes; do
            printf 'osd pool create %s 8 8\nosd pool application enable %s rbd\n' "$p" "$p"
        done
        printf 'osd pool create godwit-state 8 8\nosd pool application enable godwit-state godwit\n'
    } | in_ceph ceph >/dev/null 2>>"$CEPH_DIR/up.log"
    for p in images instances volumes; do # writes to each, so that its placement groups are active afterwards
        in_ceph rbd pool init "$p" || die "the pool $p does not take writes; see $CEPH_DIR/up.log"
    done
    in_ceph ceph auth get-or-create client.godwit \
        mon 'profile rbd, allow command "osd blocklist" with blocklistop=rm' mgr 'profile rbd' \
        osd "profile rbd pool=images, profile rbd pool=instances, profile rbd pool=volumes" \
        -o "$CEPH_DIR/client.godwit.keyring"
    # The nodes have that key; the controllers' state is for the controllers alone.
    in_ceph ceph auth get-or-create client.godwit-state mon 'profile simple-rados-client-with-blocklist' \
        osd "allow rwx pool=godwit-state" -o "$CEPH_DIR/client.godwit-state.keyring"
}

ceph_up()
{
    local fsid t0 n jobs=()
    t0=$(now_ms)
    ceph_paths
    umask 077
    mkdir -p "$CEPH_DIR/mon.a" "$CEPH_DIR/mgr.x"
    fsid=$(</proc/sys/kernel/random/uuid)
    ceph_write_conf "$fsid"
    ceph_net_up
    {
        ceph-authtool --create-keyring "$CEPH_DIR/client.admin.keyring" --gen-key -n client.admin --cap mon 'allow *' \
            --cap osd 'allow *' --cap mgr 'allow *'
        ceph-authtool --create-keyring "$CEPH_DIR/mgr.x.keyring" --gen-key -n mgr.x --cap mon 'profile mgr' \
            --cap osd 'allow *'
        ceph-authtool --create-keyring "$CEPH_DIR/mon.keyring" --gen-key -n mon. --cap mon 'allow *'
        ceph-authtool "$CEPH_DIR/mon.keyring" --import-keyring "$CEPH_DIR/client.admin.keyring"
        ceph-authtool "$CEPH_DIR/mon.keyring" --import-keyring "$CEPH_DIR/mgr.x.keyring"
        monmaptool --create --clobber --addv a "[v2:$LAB_CEPH:3300,v1:$LAB_CEPH:6789]" --fsid "$fsid" \
            "$CEPH_DIR/monmap"
    } >"$CEPH_DIR/up.log"
    ceph-mon --conf "$CEPH_CONF" --mkfs -i a --monmap "$CEPH_DIR/monmap" --keyring "$CEPH_DIR/mon.keyring" \
        >>"$CEPH_DIR/mon.a.out" 2>&1 || die "the monitor cannot be made; see $CEPH_DIR/mon.a.out"
    ceph_daemon mon a
    wait_until 20 ceph_mon_answers || die "the monitor does not answer; see $CEPH_DIR/mon.a.log"
    ceph_daemon mgr x
    for ((n = 0; n < LAB_CEPH_OSDS; n++)); do
        ceph_osd_make "$n" &
        jobs+=($!)
    done
    wait_all "${jobs[@]}" || die "not all OSDs could be made"
    for ((n = 0; n < LAB_CEPH_OSDS; n++)); do
        wait_until 30 ceph_osd_is_up "$n" || die "osd.$n does not come up; see $CEPH_DIR/osd.$n.log"
    done
    ceph_pools
    say "ceph: 1 monitor, $LAB_CEPH_OSDS OSDs in $(($(now_ms) - t0)) ms; CEPH_CONF=$CEPH_CONF"
}

# ceph_stop: end every process of the cluster, and its namespace.
ceph_stop()
{
    local p
    for p in $(pids_with "$STATE/ceph/ceph.conf"); do
        kill -KILL "$p" 2>/dev/null || true
        wait_until 10 pid_ended "$p" || say "process $p of the Ceph cluster does not end after SIGKILL"
    done
    ip link del lab-ceph 2>/dev/null || true
    ip netns del "$LAB_CEPH_NETNS" 2>/dev/null || true
}

ceph_start_daemon()
{
    local kind=$1 id=$2
    if ceph_daemon_pid "$kind" "$id" >/dev/null; then
        say "ceph-$kind $id runs already"
        return 0
    fi
    ceph_daemon "$kind" "$id"
    case $kind in
        mon) wait_until 30 ceph_mon_answers || die "the monitor does not answer; see $CEPH_DIR/mon.a.log" ;;
        osd) wait_until 60 ceph_osd_is_up "$id" || die "osd.$id does not come up; see $CEPH_DIR/osd.$id.log" ;;
    esac
}

ceph_status_lines()
{
    local d name pid
    ceph_paths
    for d in "$CEPH_DIR"/{mon,mgr,osd}.*.pid; do
        name=${d##*/}
        name=${name%.pid}
        if pid=$(ceph_daemon_pid "${name%%.*}" "${name#*.}"); then
            printf '%-10s %-12s on   pid %s\n' "$name" "$LAB_CEPH" "$pid"
        else
            printf '%-10s %-12s off\n' "$name" "$LAB_CEPH"
        fi
    done
}

cmd_ceph()
{
    local usage="usage: lab ceph kill-osd N | start-osd N | kill-mon | start-mon | status | COMMAND…"
    (($# >= 1)) || die "$usage"
    ceph_must_be_here
    case $1 in
        kill-osd | start-osd)
            [[ ${2:-} =~ ^[0-9]+$ && -d $CEPH_DIR/osd.$2 ]] ||
                die "no OSD '${2:-}' in this lab; it has 0 to $((LAB_CEPH_OSDS - 1))"
            if [[ $1 == kill-osd ]]; then ceph_daemon_kill osd "$2"; else ceph_start_daemon osd "$2"; fi
            ;;
        kill-mon) ceph_daemon_kill mon a ;;
        start-mon) ceph_start_daemon mon a ;;
        status) in_ceph ceph --connect-timeout 5 status ;;
        -*) die "$usage" ;;
        ceph | rbd | rados) exec "$@" 9>&- ;;
        *) exec ceph "$@" 9>&- ;;
    esac
}
