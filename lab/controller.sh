# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# controller.sh: godwitd in the lab: its configuration, starting and killing it, registering nodes and the first objects.

controller_paths()
{
    local build=${GODWIT_BUILD:-$LAB_SRC/../build}
    GODWITD=$build/src/daemon/godwitd
    GODWIT=$build/src/cli/godwit
    GODWIT_CONF=$STATE/godwit/godwit.conf
}

controller_need_binaries()
{
    local f
    controller_paths
    for f in "$GODWITD" "$GODWIT"; do
        [[ -x $f ]] || die "$f does not exist; build first, or set GODWIT_BUILD, or use --no-godwit"
    done
}

controller_storage()
{
    if ceph_is_here; then
        printf 'driver = rbd\nconf = %s\n' "$STATE/ceph/ceph.conf"
    else
        printf 'driver = dir\npath = %s\n' "$STATE/storage"
    fi
}

controller_write_conf()
{
    mkdir -p "$STATE/godwit"
    chmod 700 "$STATE/godwit"
    cat >"$GODWIT_CONF" <<C
[godwit]
state_dir = $STATE/godwit
listen = $LAB_CONTROLLER:8774
url = https://$LAB_CONTROLLER:8774
log_level = info

[storage]
$(controller_storage)

[libvirt]
virt_type = $(lab_get virt-type)
live_migration_uri = qemu+tcp://%s/system
C
}

controller_pid()
{
    pid_of "$STATE/godwit/godwitd.pid" "$GODWIT_CONF"
}

controller_answers()
{
    controller_pid >/dev/null || return 1
    [[ $(curl -s -o /dev/null -m 2 -w '%{http_code}' --cacert "$STATE/godwit/pki/ca.pem" \
        "https://$LAB_CONTROLLER:8774/healthz") == 200 ]]
}

controller_started()
{
    # Between fork and exec the process is there, but not yet known by its arguments.
    controller_answers || pid_ended "$(<"$STATE/godwit/godwitd.pid")"
}

# controller_start: start godwitd detached and wait until it answers. The caller's environment reaches it.
controller_start()
{
    local log=$STATE/godwit/godwitd.log
    setsid "$GODWITD" --config "$GODWIT_CONF" </dev/null >>"$log" 2>&1 7>&- 8>&- 9>&- &
    printf '%s\n' $! >"$STATE/godwit/godwitd.pid"
    wait_until 60 controller_started || die "godwitd does not answer on https://$LAB_CONTROLLER:8774/healthz; see $log"
    controller_answers || die "godwitd ended by itself; the last lines of $log:"$'\n'"$(tail -n 5 "$log")"
}

controller_stop()
{
    local signal=$1 pid
    controller_paths
    pid=$(controller_pid) || return 0
    kill "-$signal" "$pid" 2>/dev/null || true
    if ! wait_until 10 pid_ended "$pid"; then
        kill -KILL "$pid" 2>/dev/null || true
        wait_until 10 pid_ended "$pid" || die "godwitd ($pid) does not end after SIGKILL"
    fi
}

controller_env()
{
    local d=$STATE/godwit
    [[ -r $d/admin-password ]] || return 0
    printf 'export OS_AUTH_URL=https://%s:8774/identity\n' "$LAB_CONTROLLER"
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

controller_up()
{
    controller_write_conf
    "$GODWITD" init --config "$GODWIT_CONF" >>"$STATE/godwit/godwitd.log" 2>&1 ||
        die "godwitd init failed:"$'\n'"$(tail -n 5 "$STATE/godwit/godwitd.log")"
    controller_start
    controller_fill
}

cmd_controller()
{
    (($# == 1 || $# == 2)) || die "usage: lab controller pid|kill|start [N]"
    [[ ${2:-1} == 1 ]] || die "this lab has one controller; there is no number $2"
    controller_paths
    [[ -e $GODWIT_CONF ]] || die "this lab was started with --no-godwit"
    case $1 in
        pid) controller_pid || die "godwitd does not run" ;;
        kill)
            controller_pid >/dev/null || die "godwitd does not run"
            controller_stop KILL
            ;;
        start)
            if controller_pid >/dev/null; then
                die "godwitd runs already"
            fi
            controller_need_binaries
            controller_start
            ;;
        *) die "usage: lab controller pid|kill|start [N]" ;;
    esac
}
