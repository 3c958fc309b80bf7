# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# node.sh: compute nodes: their directories, switching them on and off, commands inside them.
#
# A node is the set of namespaces of one node-init process. Its directory STATE/nodes/hostN holds what a machine keeps on
# its disks (etc, var) and what the lab knows about it (pid, faults). Nothing else has to be undone when it goes:
# namespaces, links, firewall tables and mounts end with the last process in them.

node_dir()
{
    printf '%s/nodes/%s' "$STATE" "$1"
}

node_must_exist()
{
    [[ $1 =~ ^host[1-9][0-9]*$ && -d $(node_dir "$1") ]] ||
        die "no node '$1' in this lab; it has $(cd "$STATE/nodes" && echo host*)"
}

# node_lock HOST: one change at a time per node; held until this lab command ends.
node_lock()
{
    exec 8>>"$(node_dir "$1")/lock" 9>>"$STATE/lock"
    flock -w 60 8 || die "another lab command has been working on $1 for a minute"
}

node_pid()
{
    if bare_here; then
        bare_pid "$1"
        return
    fi
    pid_of "$(node_dir "$1")/pid" "$(node_dir "$1")"
}

node_enter()
{
    local pid=$1
    shift
    cd /
    exec nsenter -t "$pid" -m -u -i -n -p -- env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root "$@"
}

# What the lab needs and no real node has is written first; the product then sets its own keys among it, as it does on nodes.
# The lab's channel is the classic one: TCP, neither encrypted nor authenticated.
node_write_libvirt()
{
    local d=$1 i=$2 uuid
    uuid=$(</proc/sys/kernel/random/uuid)
    cat >"$d/etc/libvirt/libvirtd.conf" <<C
# The lab's own.
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "$uuid"
log_level = 3
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
log_filters = "3:qemu.qemu_monitor 3:qemu.qemu_capabilities 2:qemu 2:rpc.netserverclient 2:rpc.netsocket"
C
    # The nodes share one kernel and one root: no security driver, no control groups and no chown between them.
    cat >"$d/etc/libvirt/qemu.conf" <<C
# The lab's own.
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
C
    "$GODWIT" prepare files --root "$d" --transport tcp --i-know-it-is-plaintext --listen --listen-address "$LAB_NET.$i" \
        --user root --group root --static-ownership >/dev/null || die "the files of host$i could not be written"
}

node_write_ssh()
{
    local d=$1
    ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$d/etc/ssh/ssh_host_ed25519_key"
    cp "$STATE/ssh/id_ed25519.pub" "$d/etc/ssh/authorized_keys"
    cp "$STATE/ssh/id_ed25519" "$d/etc/ssh/id_ed25519"
    cat >"$d/etc/ssh/sshd_config" <<C
ListenAddress $LAB_NET.${2#host}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
C
    cat >"$d/etc/ssh/ssh_config" <<C
Host *
    User root
    IdentityFile /etc/ssh/id_ed25519
    StrictHostKeyChecking yes
    UserKnownHostsFile /dev/null
C
}

# node_make HOST: the node's directory, as a freshly installed machine would have it.
node_make()
{
    local host=$1 d
    d=$(node_dir "$host")
    mkdir -p "$d"/{dev,etc/libvirt,etc/ssh,var/lib/libvirt,var/log/libvirt,var/cache/libvirt}
    mkfifo "$d/plugged"
    [[ $(lab_get virt-type) != kvm ]] || : >"$d/use-kvm"
    printf '%s\n' "$host" >"$d/etc/hostname"
    cp "$STATE/conf/hosts-file" "$d/etc/hosts"
    # sshd refuses a locked root account even with a key; a star is "no password", not "locked".
    (umask 077 && printf 'root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n' >"$d/etc/shadow")
    node_write_libvirt "$d" "${host#host}"
    node_write_ssh "$d" "$host"
}

node_libvirt_answers()
{
    timeout 5 virsh -c "qemu+tcp://$LAB_NET.${1#host}/system" version
}

node_libvirt_answers_inside()
{
    (node_enter "$(node_pid "$1")" timeout 5 virsh -c qemu:///system version)
}

node_sshd_answers()
{
    ssh -F "$STATE/ssh/config" -o ConnectTimeout=2 "$1" true
}

# node_start HOST: switch it on; returns when the network is plugged in, before its daemons answer.
node_start()
{
    local host=$1 d pid
    if bare_here; then
        bare_start "$host"
        return
    fi
    d=$(node_dir "$host")
    rm -f "$d/pid"
    setsid unshare --mount --uts --ipc --net --pid --fork --propagation private \
        "$LAB_SRC/node-init" "$d" </dev/null >>"$d/console.log" 2>&1 7>&- 8>&- 9>&- &
    wait_until 10 node_pid "$host" || die "$host did not start; see $d/console.log"
    pid=$(node_pid "$host")
    net_plug "$host" "$pid"
    echo go 1<>"$d/plugged"
}

# node_ready HOST: wait until its daemons answer. A node whose network is cut is asked from inside.
node_ready()
{
    local host=$1 d
    if bare_here; then
        bare_ready "$host"
        return
    fi
    d=$(node_dir "$host")
    if [[ -e $d/cut ]] || grep -qs "^from $LAB_CONTROLLER\$" "$d/rules"; then
        wait_until 30 node_libvirt_answers_inside "$host" ||
            die "libvirtd of $host does not answer; see $d/var/log/libvirt/libvirtd.log and $d/console.log"
        return 0
    fi
    wait_until 30 node_libvirt_answers "$host" ||
        die "libvirtd of $host does not answer on tcp; see $d/var/log/libvirt/libvirtd.log and $d/console.log"
    wait_until 10 node_sshd_answers "$host" || die "sshd of $host does not answer; see $d/console.log"
}

# node_stop HOST: pull the plug: first the cable, so that no connection is closed politely, then the power.
node_stop()
{
    local host=$1 pid
    net_unplug "$host"
    if pid=$(node_pid "$host"); then
        kill -KILL "$pid" 2>/dev/null || true
        wait_until 20 pid_ended "$pid" || die "process $pid of $host does not end after SIGKILL"
    fi
    rm -f "$(node_dir "$host")/pid"
}

nodes_make_keys()
{
    local i n
    n=$(lab_get hosts)
    {
        printf '127.0.0.1 localhost\n%s controller\n' "$LAB_CONTROLLER"
        for ((i = 1; i <= n; i++)); do
            printf '%s.%s host%s\n' "$LAB_NET" "$i" "$i"
        done
    } >"$STATE/conf/hosts-file"
    ssh-keygen -q -t ed25519 -N '' -C godwit-lab -f "$STATE/ssh/id_ed25519"
}

# nodes_make_known: every node and the machine itself know every node's host key, by name and by address.
nodes_make_known()
{
    local i n key
    n=$(lab_get hosts)
    for ((i = 1; i <= n; i++)); do
        read -r key <"$STATE/nodes/host$i/etc/ssh/ssh_host_ed25519_key.pub"
        printf 'host%s,%s.%s %s\n' "$i" "$LAB_NET" "$i" "${key% *}"
    done >"$STATE/ssh/known_hosts"
    for ((i = 1; i <= n; i++)); do
        # Bare nodes do not know each other: that is for whoever prepares them.
        bare_here || cp "$STATE/ssh/known_hosts" "$STATE/nodes/host$i/etc/ssh/ssh_known_hosts"
    done
    {
        printf 'Host *\n    User root\n    IdentityFile %s/ssh/id_ed25519\n    IdentitiesOnly yes\n' "$STATE"
        printf '    StrictHostKeyChecking yes\n    UserKnownHostsFile %s/ssh/known_hosts\n    BatchMode yes\n' "$STATE"
        for ((i = 1; i <= n; i++)); do
            printf 'Host host%s\n    HostName %s.%s\n' "$i" "$LAB_NET" "$i"
        done
    } >"$STATE/ssh/config"
}

# nodes_up N: make and start hosts 1 … N at the same time.
nodes_up()
{
    local i n=$1 jobs=()
    nodes_make_keys
    for ((i = 1; i <= n; i++)); do
        if bare_here; then
            bare_make "host$i"
        else
            node_make "host$i"
        fi
    done
    nodes_make_known
    for ((i = 1; i <= n; i++)); do
        (node_start "host$i"; node_ready "host$i") &
        jobs+=($!)
    done
    wait_all "${jobs[@]}" || die "not all nodes came up"
}

cmd_exec()
{
    (($# >= 2)) || die "usage: lab exec HOST COMMAND…"
    local host=$1 pid
    shift
    node_must_exist "$host"
    pid=$(node_pid "$host") || die "$host is switched off; switch it on with: lab/lab boot $host"
    node_enter "$pid" "$@"
}

cmd_kill()
{
    (($# == 1)) || die "usage: lab kill HOST"
    node_must_exist "$1"
    node_lock "$1"
    node_stop "$1"
}

cmd_boot()
{
    (($# == 1)) || die "usage: lab boot HOST"
    node_must_exist "$1"
    node_lock "$1"
    if node_pid "$1" >/dev/null; then
        say "$1 is on already"
    else
        node_start "$1"
    fi
    node_ready "$1"
}

node_libvirtd_pid()
{
    local init
    init=$(node_pid "$1") || return 1
    # shellcheck disable=SC2016 # for the node's shell
    (node_enter "$init" sh -c 'p=$(cat /run/libvirt/libvirtd.pid) && kill -0 "$p" && echo "$p"') 2>/dev/null
}

# libvirtd HOST pid|kill|start: node-init does not start it again by itself, so that a test decides when it is back.
cmd_libvirtd()
{
    (($# == 2)) || die "usage: lab libvirtd HOST pid|kill|start"
    local host=$1 init pid
    node_must_exist "$host"
    ! bare_here || die "bare nodes have systemd: lab/lab exec $host systemctl … libvirtd"
    node_lock "$host"
    init=$(node_pid "$host") || die "$host is switched off"
    case $2 in
        pid) node_libvirtd_pid "$host" ;;
        kill)
            pid=$(node_libvirtd_pid "$host") || die "libvirtd of $host does not run"
            (node_enter "$init" kill -KILL "$pid")
            ;;
        start)
            (node_enter "$init" setsid libvirtd -d -l -p /run/libvirt/libvirtd.pid 8>&- 9>&-)
            node_ready "$host"
            ;;
        *) die "usage: lab libvirtd HOST pid|kill|start" ;;
    esac
}
