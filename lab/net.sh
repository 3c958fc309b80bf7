# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# net.sh: the lab's network: the bridge lab0, a link per node, and the faults that can be put on them.
#
# The link of hostN is a veth pair: lab-hN on lab0 in the machine's namespace, eth0 on br0 in the node's. Faults are
# kept in the node's directory (rate, cut, rules), so that a node that was switched off and on again still has them.

net_claim()
{
    local other
    if ip link show "$LAB_BRIDGE" >/dev/null 2>&1; then
        ip link show "$LAB_BRIDGE" | grep -q 'alias godwit-lab' ||
            die "a link named $LAB_BRIDGE exists and is not the lab's; rename it first"
        ip link del "$LAB_BRIDGE"
    fi
    other=$(ip -4 -o addr show | awk -v net="$LAB_NET." 'index($4, net) == 1 { print $2, $4 }' | sed -n 1p)
    [[ -z $other ]] || die "the lab needs $LAB_NET.0/24, which this machine uses: $other"
    ip link add "$LAB_BRIDGE" type bridge
    ip link set "$LAB_BRIDGE" alias godwit-lab
    ip addr add "$LAB_CONTROLLER/24" dev "$LAB_BRIDGE"
    ip link set "$LAB_BRIDGE" up
}

net_release()
{
    local l
    for l in $(ip -o link show | sed -n 's/^[0-9]*: \(lab-h[0-9]*\)@.*/\1/p'); do
        ip link del "$l" 2>/dev/null || true
    done
    if ip link show "$LAB_BRIDGE" 2>/dev/null | grep -q 'alias godwit-lab'; then
        ip link del "$LAB_BRIDGE" || true
    fi
}

in_net()
{
    local pid=$1
    shift
    nsenter -t "$pid" -n -- "$@"
}

# net_plug HOST PID: give the namespace of process PID the node's link, bridge and address, and its faults.
net_plug()
{
    local i=${1#host} pid=$2 mac
    printf -v mac '52:54:00:88:00:%02x' "$i"
    ip link del "lab-h$i" 2>/dev/null || true
    # The node's address stays with its card: neighbours that remember it find it at once after a boot.
    ip link add "lab-h$i" type veth peer name eth0 address "$mac" netns "$pid"
    ip link set "lab-h$i" master "$LAB_BRIDGE" up
    in_net "$pid" ip -batch - <<B
link set lo up
link add br0 address $mac type bridge
link set eth0 master br0 up
addr add $LAB_NET.$i/24 dev br0
link set br0 up
B
    net_faults_apply "$1" "$pid"
}

net_unplug()
{
    ip link del "lab-h${1#host}" 2>/dev/null || true
}

net_faults_apply()
{
    local d=$STATE/nodes/$1
    [[ ! -e $d/rate ]] || net_rate_apply "$1" "$2" "$(<"$d/rate")"
    [[ ! -e $d/rules ]] || net_rules_apply "$1" "$2"
    if [[ -e $d/cut ]]; then
        ip link set "lab-h${1#host}" down
    else
        ip link set "lab-h${1#host}" up
    fi
}

# The token bucket holds 10 ms of the rate, but always a whole large segment.
net_rate_apply()
{
    local dev="lab-h${1#host}" pid=$2 rate=$3 bits burst
    tc qdisc del dev "$dev" root 2>/dev/null || true
    in_net "$pid" tc qdisc del dev eth0 root 2>/dev/null || true
    [[ $rate != off ]] || return 0
    [[ $rate =~ ^([1-9][0-9]{0,5})([kmg])bit$ ]] || return 1
    case ${BASH_REMATCH[2]} in
        k) bits=$((BASH_REMATCH[1] * 1000)) ;;
        m) bits=$((BASH_REMATCH[1] * 1000000)) ;;
        *) bits=$((BASH_REMATCH[1] * 1000000000)) ;;
    esac
    burst=$((bits / 800 > 65536 ? bits / 800 : 65536))
    tc qdisc add dev "$dev" root tbf rate "$rate" burst "$burst" latency 50ms
    in_net "$pid" tc qdisc add dev eth0 root tbf rate "$rate" burst "$burst" latency 50ms
}

# Lines of the file rules: "from ADDRESS" (nothing passes either way) or "replies ADDRESS" (what libvirtd answers).
net_rules_apply()
{
    local kind addr
    {
        printf 'table inet godwit_lab\ndelete table inet godwit_lab\ntable inet godwit_lab {\n'
        printf ' chain in { type filter hook input priority -10; }\n chain out { type filter hook output priority -10; }\n}\n'
        while read -r kind addr; do
            case $kind in
                from)
                    printf 'add rule inet godwit_lab in ip saddr %s drop\n' "$addr"
                    printf 'add rule inet godwit_lab out ip daddr %s drop\n' "$addr"
                    ;;
                replies)
                    printf 'add rule inet godwit_lab out ip daddr %s tcp sport 16509 drop\n' "$addr"
                    ;;
            esac
        done <"$STATE/nodes/$1/rules"
    } | in_net "$2" nft -f -
}

# net_peers HOST: the addresses of all other nodes.
net_peers()
{
    local i n
    n=$(lab_get hosts)
    for ((i = 1; i <= n; i++)); do
        [[ host$i == "$1" ]] || printf '%s.%s\n' "$LAB_NET" "$i"
    done
}

cmd_link()
{
    (($# == 2)) || die "usage: lab link HOST RATE|off (RATE like 400mbit)"
    local host=$1 rate=$2 pid
    node_must_exist "$host"
    [[ $rate =~ ^(off|[1-9][0-9]{0,5}[kmg]bit)$ ]] || die "bad rate '$rate': a number and kbit, mbit or gbit, or off"
    node_lock "$host"
    if [[ $rate == off ]]; then
        rm -f "$STATE/nodes/$host/rate"
    else
        printf '%s\n' "$rate" >"$STATE/nodes/$host/rate"
    fi
    if pid=$(node_pid "$host"); then
        net_rate_apply "$host" "$pid" "$rate"
    fi
}

net_partition_from()
{
    local host=$1 what
    for what in ${2//,/ }; do
        case $what in
            controller) controller_addresses | sed 's/^/from /' ;;
            peers) net_peers "$host" | sed 's/^/from /' ;;
            ceph)
                ceph_is_here || die "this lab has no Ceph cluster to cut $host from"
                printf 'from %s\n' "$LAB_CEPH"
                ;;
            host*)
                node_must_exist "$what"
                [[ $what != "$host" ]] || die "a node cannot be cut from itself"
                printf 'from %s.%s\n' "$LAB_NET" "${what#host}"
                ;;
            *) die "cannot cut from '$what': controller, peers, ceph or a host's name" ;;
        esac
    done
}

cmd_partition()
{
    if [[ ${1:-} == controller* ]]; then
        controller_partition "$@"
        return
    fi
    local usage="usage: lab partition HOST [--from controller,peers,ceph] [--replies-to PEER]"
    (($# >= 1)) || die "$usage"
    local host=$1 new='' pid more
    shift
    node_must_exist "$host"
    local d=$STATE/nodes/$host
    while (($#)); do
        (($# >= 2)) || die "$usage"
        case $1 in
            --from) more=$(net_partition_from "$host" "$2") || exit 1 ;;
            --replies-to)
                node_must_exist "$2"
                [[ $2 != "$host" ]] || die "a node cannot be cut from itself"
                more="replies $LAB_NET.${2#host}"
                ;;
            *) die "$usage" ;;
        esac
        new+=$more$'\n'
        shift 2
    done
    node_lock "$host"
    if [[ -z $new ]]; then
        : >"$d/cut"
    else
        printf '%s' "$new" >>"$d/rules"
    fi
    if pid=$(node_pid "$host"); then
        net_faults_apply "$host" "$pid"
    fi
}

cmd_heal()
{
    (($# == 1)) || die "usage: lab heal HOST"
    local pid
    if [[ $1 == controller* ]]; then
        controller_heal "$1"
        return
    fi
    node_must_exist "$1"
    node_lock "$1"
    rm -f "$STATE/nodes/$1/cut" "$STATE/nodes/$1/rules"
    if pid=$(node_pid "$1"); then
        in_net "$pid" nft delete table inet godwit_lab 2>/dev/null || true
        net_faults_apply "$1" "$pid"
    fi
}
