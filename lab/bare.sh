# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2153 # STATE is set by whoever includes this
# bare.sh: bare nodes (up --bare): each a Debian 12 of its own with systemd, dbus, sshd and apt, and nothing else.
#
# The base tree and a repository with the packages that preparing a node needs are made once and kept in the cache, so
# that nodes come up in seconds and need no network to install from. A node's own part of its tree is up/ in its
# directory; kill and boot keep it, as a disk would.

bare_cache()
{
    printf '%s/godwit-lab/bare-bookworm-1' "${XDG_CACHE_HOME:-/var/cache}"
}

bare_here()
{
    [[ -e $STATE/conf/bare ]]
}

bare_package_names()
{
    sed -n 's/^node://p' "$LAB_SRC/packages-bare"
}

# bare_in_tree TREE COMMAND…: inside the base tree, in a mount namespace of its own.
bare_in_tree()
{
    local tree=$1
    shift
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private sh -ec '
        tree=$1; shift
        mount -t proc proc "$tree/proc"
        mount -t tmpfs tmpfs "$tree/dev"
        for n in null zero full random urandom; do cp -a "/dev/$n" "$tree/dev/$n"; done
        if [ -d "$tree.debs" ]; then mount --bind "$tree.debs" "$tree/var/cache/apt/archives"; fi
        exec chroot "$tree" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"' sh "$tree" "$@"
}

# The machine's own sources may carry mirrors and keys that the tree does not have; Debian's suites are named alike everywhere.
bare_sources()
{
    local mirror=$1
    printf 'deb %s bookworm main\ndeb %s bookworm-updates main\n' "$mirror" "$mirror"
    printf 'deb http://deb.debian.org/debian-security bookworm-security main\n'
}

bare_repository()
{
    local tree=$1 out=$2 name file
    mkdir -p "$tree.debs/partial"
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    bare_sources "${GODWIT_LAB_MIRROR:-http://deb.debian.org/debian}" >"$tree/etc/apt/sources.list"
    bare_in_tree "$tree" apt-get -q update
    # shellcheck disable=SC2046 # a list of names
    bare_in_tree "$tree" apt-get -q -y --no-install-recommends --download-only install $(bare_package_names)
    mkdir -p "$out"
    # shellcheck disable=SC2046
    for name in $(bare_in_tree "$tree" apt-get -s -q --no-install-recommends install $(bare_package_names) |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p'); do
        for file in "$tree.debs/${name}"_*.deb; do
            mv "$file" "$out/"
        done
    done
    (cd "$out" && dpkg-scanpackages -m . /dev/null >Packages 2>/dev/null)
    rm -rf "$tree.debs" "$tree/etc/resolv.conf" "$tree"/var/lib/apt/lists/*
    printf 'deb [trusted=yes] file:/var/cache/lab-packages ./\n' >"$tree/etc/apt/sources.list"
}

# bare_base: make the cache; nothing of a half-made one is ever used. One at a time.
bare_base()
{
    local cache new log lock
    cache=$(bare_cache)
    [[ ! -e $cache/root ]] || return 0
    mkdir -p "${cache%/*}"
    exec {lock}>>"$cache.lock"
    flock "$lock"
    [[ ! -e $cache/root ]] || { exec {lock}>&-; return 0; }
    new=$cache.new
    log=$cache.log
    say "building the bare nodes' base tree, once (some minutes); log: $log"
    rm -rf --one-file-system "$new"
    mkdir -p "$new"
    {
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-server,iproute2,sudo,ca-certificates \
            bookworm "$new/root" "${GODWIT_LAB_MIRROR:-http://deb.debian.org/debian}" &&
            bare_repository "$new/root" "$new/packages"
    } >"$log" 2>&1 || die "the base tree could not be made:"$'\n'"$(tail -n 5 "$log")"
    # Every node makes keys of its own, and has a number of its own.
    rm -f "$new"/root/etc/ssh/ssh_host_*
    : >"$new/root/etc/machine-id"
    mv "$new" "$cache"
    exec {lock}>&-
}

# bare_make HOST: its directory, as a disk onto which Debian was installed and the operator's key put.
bare_make()
{
    local host=$1 d
    d=$(node_dir "$host")
    mkdir -p "$d"/{up/etc/ssh,up/root/.ssh,work,root,var/log}
    ln -s up/etc "$d/etc"
    [[ $(lab_get virt-type) != kvm ]] || : >"$d/use-kvm"
    printf '%s\n' "$host" >"$d/etc/hostname"
    cp "$STATE/conf/hosts-file" "$d/etc/hosts"
    chmod 700 "$d/up/root" "$d/up/root/.ssh"
    cp "$STATE/ssh/id_ed25519.pub" "$d/up/root/.ssh/authorized_keys"
    ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$d/etc/ssh/ssh_host_ed25519_key"
    ssh-keygen -q -t rsa -b 3072 -N '' -C "$host" -f "$d/etc/ssh/ssh_host_rsa_key"
}

bare_start()
{
    local host=$1 d cache
    d=$(node_dir "$host")
    cache=$(bare_cache)
    rm -f "$d/pid"
    setsid unshare --mount --propagation private \
        "$LAB_SRC/bare-init" "$d" "$cache/root" "$cache/packages" "$STATE/storage" \
        </dev/null >>"$d/console.log" 2>&1 7>&- 8>&- 9>&- &
    wait_until 20 node_pid "$host" || die "$host did not start; see $d/console.log"
    net_plug "$host" "$(node_pid "$host")"
}

bare_is_running()
{
    local state
    state=$(node_enter "$(node_pid "$1")" systemctl is-system-running) || true
    [[ $state == @(running|degraded) ]]
}

bare_ready()
{
    wait_until 60 bare_is_running "$1" || die "systemd of $1 is not ready; see $(node_dir "$1")/console.log"
    [[ ! -e $(node_dir "$1")/cut ]] || return 0
    wait_until 20 node_sshd_answers "$1" || die "sshd of $1 does not answer; see $(node_dir "$1")/console.log"
}

# The node's process 1 has no argument that would tell it from others: it is the one below its bare-init.
bare_pid()
{
    local pid='' up d
    d=$(node_dir "$1")
    { read -r pid <"$d/pid"; } 2>/dev/null || return 1
    [[ $pid =~ ^[0-9]+$ ]] && pid_alive "$pid" || return 1
    up=$(sed -n 's/^PPid:\t//p' "/proc/$pid/status" 2>/dev/null) || return 1
    [[ $(tr '\0' '\n' <"/proc/$up/cmdline" 2>/dev/null) == *"--directory=$d/root"* ]] || return 1
    printf '%s\n' "$pid"
}
