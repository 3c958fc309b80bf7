# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# controller.sh: godwitd in the lab: its configuration, starting and killing it, registering nodes and the first objects.
#
# One controller is a process in the machine's own namespaces, at LAB_CONTROLLER. Several (--controllers N, state on RADOS)
# have a network namespace, a link to lab0, an address and a state directory each, so that one can be cut off from Ceph,
# from the nodes or from its clients alone. Clients are then whatever runs in the machine's namespace.

controller_paths()
{
    local build
    build=$(realpath -m -- "${GODWIT_BUILD:-$LAB_SRC/../build}")
    GODWITD=$build/src/daemon/godwitd
    GODWIT=$build/src/cli/godwit
}

# controller_need_binaries PROGRAM…
controller_need_binaries()
{
    local f
    for f in "$@"; do
        [[ -x $f ]] || die "$f does not exist; build first, or set GODWIT_BUILD"
    done
}

controller_count()
{
    lab_get controllers || echo 1
}

controller_dir()
{
    if (($1 == 1)); then printf '%s/godwit' "$STATE"; else printf '%s/godwit%s' "$STATE" "$1"; fi
}

controller_conf()
{
    printf '%s/godwit.conf' "$(controller_dir "$1")"
}

controller_address()
{
    if (($(controller_count) == 1)); then
        printf '%s' "$LAB_CONTROLLER"
    else
        printf '%s.%s' "$LAB_NET" $((LAB_CONTROLLER_BASE + $1))
    fi
}

# controller_addresses: of all controllers, and of the machine itself, where clients are.
controller_addresses()
{
    local n count
    printf '%s\n' "$LAB_CONTROLLER"
    count=$(controller_count)
    ((count > 1)) || return 0
    for ((n = 1; n <= count; n++)); do
        printf '%s\n' "$(controller_address "$n")"
    done
}

controller_must_exist()
{
    [[ $1 =~ ^[1-9]$ && $1 -le $(controller_count) ]] ||
        die "there is no controller '$1' in this lab; it has $(controller_count)"
    [[ -e $(controller_conf "$1") ]] || die "this lab was started with --no-godwit"
}

controller_netns()
{
    printf 'godwit-lab-c%s' "$1"
}

controller_net_up()
{
    local ns
    ns=$(controller_netns "$1")
    ip netns add "$ns"
    ip link add "lab-c$1" type veth peer name eth0 netns "$ns"
    ip link set "lab-c$1" master "$LAB_BRIDGE" up
    ip -n "$ns" -batch - <<B
link set lo up
addr add $(controller_address "$1")/24 dev eth0
link set eth0 up
route add default via $LAB_CONTROLLER
B
}

controllers_net_down()
{
    local ns
    for ns in $(ip netns list | sed -n 's/^\(godwit-lab-c[0-9]*\).*/\1/p'); do
        ip link del "lab-c${ns#godwit-lab-c}" 2>/dev/null || true
        ip netns del "$ns" 2>/dev/null || true
    done
}

# in_controller N COMMAND…: in its network.
in_controller()
{
    local n=$1
    shift
    if (($(controller_count) == 1)); then "$@"; else ip netns exec "$(controller_netns "$n")" "$@"; fi
}

controller_storage()
{
    if ceph_is_here; then
        printf 'driver = rbd\nconf = %s\n' "$STATE/ceph/ceph.conf"
    else
        printf 'driver = dir\npath = %s\n' "$STATE/storage"
    fi
}

controller_state()
{
    if [[ $(lab_get state || true) == rados ]]; then printf 'state = rados:godwit-state/lab/godwit\n'; fi
}

# Moves between bare nodes go by the transport that these were prepared for and registered with: that is the default.
controller_transport()
{
    bare_here || printf 'live_migration_uri = qemu+tcp://%%s/system\n'
}

controller_write_conf()
{
    local d address
    d=$(controller_dir "$1")
    address=$(controller_address "$1")
    mkdir -p "$d"
    chmod 700 "$d"
    cat >"$d/godwit.conf" <<C
[godwit]
state_dir = $d
$(controller_state)
listen = $address:8774
url = https://$address:8774
log_level = info

[storage]
$(controller_storage)

[libvirt]
virt_type = $(lab_get virt-type)
$(controller_transport)
C
}

controller_pid()
{
    pid_of "$(controller_dir "$1")/godwitd.pid" "$(controller_conf "$1")"
}

# controller_health N: what it says of itself ("active", "standby", "starting"); nothing if it does not answer.
controller_health()
{
    curl -s -m 2 --cacert "$STATE/godwit/pki/ca.pem" "https://$(controller_address "$1"):8774/healthz" | jq -r .status
}

controller_answers()
{
    controller_pid "$1" >/dev/null && [[ $(controller_health "$1") == @(active|standby) ]]
}

controller_is_active()
{
    [[ $(controller_health "$1") == active ]]
}

# controller_active: the number of the active one; 1 if there is none.
controller_active()
{
    local n count
    count=$(controller_count)
    for ((n = 1; count > 1 && n <= count; n++)); do
        if controller_is_active "$n"; then
            echo "$n"
            return 0
        fi
    done
    echo 1
}

controller_started()
{
    # Between fork and exec the process is there, but not yet known by its arguments.
    controller_answers "$1" || pid_ended "$(<"$(controller_dir "$1")/godwitd.pid")"
}

# controller_run DIR COMMAND…: godwitd, and a shell beside it that writes into controller.exit how it ended, for a process
# that a signal ends says no word: "2026-11-23T11:36:33+00:00 pid 4711 status 137" (128 + the signal's number).
controller_run()
{
    local d=$1
    shift
    # The keeper is a session of its own: godwitd is no leader of its process group, so its number stays that of the job.
    # shellcheck disable=SC2016 # expanded inside
    setsid bash -c '
        cd "$1" || exit 1
        shift
        "$@" &
        printf "%s\n" $! >godwitd.pid.new
        mv godwitd.pid.new godwitd.pid
        status=0
        wait $! || status=$?
        printf "%s pid %s status %s\n" "$(date -Is)" $! $status >>controller.exit' \
        keeper "$d" "$@" </dev/null >>"$d/godwitd.log" 2>&1 7>&- 8>&- 9>&- &
}

controller_has_pid()
{
    [[ -s $(controller_dir "$1")/godwitd.pid ]]
}

# controller_start N: start godwitd detached and wait until it answers. The caller's environment reaches it.
controller_start()
{
    local n=$1 d log
    d=$(controller_dir "$n")
    log=$d/godwitd.log
    rm -f "$d/godwitd.pid"
    if (($(controller_count) == 1)); then
        controller_run "$d" "$GODWITD" --config "$d/godwit.conf"
    else
        controller_run "$d" ip netns exec "$(controller_netns "$n")" "$GODWITD" --config "$d/godwit.conf"
    fi
    wait_until 20 controller_has_pid "$n" || die "godwitd is not started within 20 s; see $log"
    wait_until 60 controller_started "$n" ||
        die "godwitd does not answer on https://$(controller_address "$n"):8774/healthz; see $log"
    controller_answers "$n" ||
        die "godwitd ended by itself; $(tail -n 1 "$d/controller.exit" 2>/dev/null); the last lines of $log:"$'\n'"$(tail -n 5 "$log")"
}

controller_stop()
{
    local n=$1 signal=$2 pid
    pid=$(controller_pid "$n") || return 0
    kill "-$signal" "$pid" 2>/dev/null || true
    if ! wait_until 10 pid_ended "$pid"; then
        kill -KILL "$pid" 2>/dev/null || true
        wait_until 10 pid_ended "$pid" || die "godwitd ($pid) does not end after SIGKILL"
    fi
}

# controllers_stop: all of them, one that was stopped with SIGSTOP as well.
controllers_stop()
{
    local n count pid
    count=$(controller_count)
    for ((n = count; n >= 1; n--)); do
        if pid=$(controller_pid "$n"); then
            kill -CONT "$pid" 2>/dev/null || true
            controller_stop "$n" TERM
        fi
    done
}

controller_env()
{
    local d=$STATE/godwit
    [[ -r $d/admin-password ]] || return 0
    printf 'export OS_AUTH_URL=https://%s:8774/identity\n' "$(controller_address "$(controller_active)")"
    printf 'export OS_USERNAME=admin\nexport OS_PASSWORD=%q\n' "$(<"$d/admin-password")"
    printf 'export OS_PROJECT_NAME=admin\nexport OS_USER_DOMAIN_NAME=Default\nexport OS_PROJECT_DOMAIN_NAME=Default\n'
    printf 'export OS_CACERT=%q\nexport OS_IDENTITY_API_VERSION=3\nexport OS_REGION_NAME=RegionOne\n' "$d/pki/ca.pem"
}

# godwit …: the command line client, as admin.
godwit()
{
    (
        eval "$(controller_env)"
        exec "$GODWIT" "$@"
    )
}

hosts_all_up()
{
    [[ $(godwit host list --json | jq '[.. | objects | select(.state? == "up")] | length') == "$(lab_get hosts)" ]]
}

controller_fill()
{
    local i n
    n=$(lab_get hosts)
    for ((i = 1; i <= n; i++)); do
        godwit host add "host$i" --address "$LAB_NET.$i" --uri "qemu+tcp://$LAB_NET.$i/system" >/dev/null
    done
    wait_until 60 hosts_all_up || die "not all nodes are up in godwitd after a minute: $(godwit host list 2>&1)"
    godwit image create guest --file "$(lab_get guest-image)" --disk-format raw >/dev/null
    godwit flavor create tiny --vcpus 1 --ram 256 --disk 1 >/dev/null
    godwit flavor create small --vcpus 1 --ram 512 --disk 1 >/dev/null
    godwit network create lab --bridge br0 >/dev/null
    godwit subnet create lab --network lab --cidr "$LAB_NET.0/24" --gateway "$LAB_CONTROLLER" \
        --pool "$LAB_NET.100-$LAB_NET.200" >/dev/null
}

# controller_init N: a further controller gets the authority of the first before anything is made.
controller_init()
{
    local n=$1 d
    d=$(controller_dir "$n")
    controller_write_conf "$n"
    if ((n > 1)); then
        mkdir -p "$d/pki"
        chmod 700 "$d/pki"
        cp -p "$STATE/godwit/pki/ca.pem" "$STATE/godwit/pki/ca-key.pem" "$d/pki/"
    fi
    in_controller "$n" "$GODWITD" init --config "$d/godwit.conf" >>"$d/godwitd.log" 2>&1 ||
        die "godwitd init failed:"$'\n'"$(tail -n 5 "$d/godwitd.log")"
}

# controller_up: all of them. Bare nodes are registered when they have been prepared, by whoever does it.
controller_up()
{
    local n count
    count=$(controller_count)
    for ((n = 1; n <= count; n++)); do
        ((count == 1)) || controller_net_up "$n"
        controller_init "$n"
        controller_start "$n"
        ((n > 1)) || wait_until 60 controller_is_active 1 || die "godwitd does not become active; see $STATE/godwit/godwitd.log"
    done
    bare_here || controller_fill
}

controller_status_lines()
{
    local n count pid
    count=$(controller_count)
    for ((n = 1; n <= count; n++)); do
        if [[ ! -e $(controller_conf "$n") ]]; then
            printf '%-10s none\n' controller
        elif pid=$(controller_pid "$n"); then
            printf '%-10s %-12s on   pid %s, %s%s\n' controller \
                "$(controller_address "$n")" "$pid" "$(controller_health "$n")" \
                "$(bare_here || echo '; nodes are reached over plaintext tcp')"
        else
            printf '%-10s %-12s off\n' controller "$(controller_address "$n")"
        fi
    done
}

cmd_controller()
{
    local usage="usage: lab controller pid|kill|start|stop|cont [N], or lab controller active" n=${2:-1} pid
    (($# == 1 || $# == 2)) || die "$usage"
    controller_paths
    controller_must_exist "$n"
    case $1 in
        active)
            controller_active
            return 0
            ;;
        start)
            ! controller_pid "$n" >/dev/null || die "godwitd runs already"
            controller_need_binaries "$GODWITD" "$GODWIT"
            controller_start "$n"
            return 0
            ;;
    esac
    pid=$(controller_pid "$n") || die "godwitd does not run"
    case $1 in
        pid) printf '%s\n' "$pid" ;;
        kill) controller_stop "$n" KILL ;;
        stop) kill -STOP "$pid" ;;
        cont) kill -CONT "$pid" ;;
        *) die "$usage" ;;
    esac
}

# controller_cut N WHAT…: nothing passes between it and ceph, the nodes (hosts), or everybody else (clients).
controller_cut()
{
    local n=$1 what addresses=() a
    for what in ${2//,/ }; do
        case $what in
            ceph) addresses+=("$LAB_CEPH") ;;
            hosts) mapfile -t -O "${#addresses[@]}" addresses < <(net_peers none) ;;
            clients) addresses+=("$LAB_CONTROLLER") ;;
            *) die "cannot cut a controller from '$what': ceph, hosts or clients" ;;
        esac
    done
    {
        printf 'add table inet godwit_lab\n'
        printf 'add chain inet godwit_lab in { type filter hook input priority -10; }\n'
        printf 'add chain inet godwit_lab out { type filter hook output priority -10; }\n'
        for a in "${addresses[@]}"; do
            printf 'add rule inet godwit_lab in ip saddr %s drop\nadd rule inet godwit_lab out ip daddr %s drop\n' "$a" "$a"
        done
    } | in_controller "$n" nft -f -
}

# controller_partition controllerN [--from ceph,hosts,clients] | controller_heal controllerN
controller_partition()
{
    local n=${1#controller} what=ceph,hosts,clients
    (($# == 1 || $# == 3)) || die "usage: lab partition controllerN [--from ceph,hosts,clients]"
    if (($# == 3)); then
        [[ $2 == --from ]] || die "usage: lab partition controllerN [--from ceph,hosts,clients]"
        what=$3
    fi
    controller_must_exist "$n"
    (($(controller_count) > 1)) || die "the only controller has no network of its own; use --controllers 2"
    controller_cut "$n" "$what"
}

controller_heal()
{
    controller_must_exist "${1#controller}"
    (($(controller_count) > 1)) || return 0
    in_controller "${1#controller}" nft delete table inet godwit_lab 2>/dev/null || true
}
