# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# common.sh: what every part of the lab uses: messages, deadlines, processes, the place of the state.
#
# One lab per machine. LAB_MARK is a symbolic link to the state directory of the lab that is up; making it is atomic, so
# it is the claim as well. A state directory carries STAMP, and nothing without it is ever removed.

# shellcheck disable=SC2034 # used by the files that include this one
{
    LAB_MARK=/run/godwit-lab
    LAB_DEFAULT_DIR=${GODWIT_LAB_DIR:-/var/tmp/godwit-lab}
    LAB_STAMP=.godwit-lab
    LAB_BRIDGE=lab0
    LAB_NET=10.88.0
    LAB_CONTROLLER=$LAB_NET.254
    LAB_CONTROLLER_BASE=240 # of several controllers the N-th is at 240 + N
    LAB_MAX_HOSTS=32
    LAB_CEPH=$LAB_NET.253
    LAB_CEPH_NETNS=godwit-lab-ceph
    LAB_CEPH_OSDS=2
}

die()
{
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

say()
{
    printf 'lab: %s\n' "$*" >&2
}

# now_ms: monotonic enough for deadlines, and without a fork.
now_ms()
{
    local t=${EPOCHREALTIME/[^0-9]/}
    printf '%s' "${t%???}"
}

# wait_until SECONDS COMMAND…: poll until COMMAND succeeds; false when the time is over.
wait_until()
{
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@" >/dev/null 2>&1; do
        (($(now_ms) < end)) || return 1
        sleep 0.05
    done
}

# wait_all PID…: wait for background jobs; false if any failed.
wait_all()
{
    local pid failed=0
    for pid in "$@"; do
        wait "$pid" || failed=1
    done
    return "$failed"
}

# pid_alive PID: does a process of that number live? A zombie has ended.
pid_alive()
{
    local stat=''
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    [[ ${stat%% *} != [ZX] ]]
}

pid_ended()
{
    ! pid_alive "$1"
}

# pid_of FILE MARK: the process id in FILE, if that process lives and has MARK as one of its arguments (numbers are
# reused; a stranger must never be killed).
pid_of()
{
    local pid='' arg
    [[ -r $1 ]] || return 1
    read -r pid <"$1" || return 1
    [[ $pid =~ ^[0-9]+$ ]] && pid_alive "$pid" || return 1
    while IFS= read -r -d '' arg; do
        if [[ $arg == "$2" ]]; then
            printf '%s\n' "$pid"
            return 0
        fi
    done 2>/dev/null <"/proc/$pid/cmdline"
    return 1
}

# pids_with MARK: every process of this lab that has MARK as one of its arguments. Labs in other worlds (lab/apart, a
# container) may use the same paths, and their processes can be seen from outside: only one that finds our own stamp at
# the state's path is ours.
pids_with()
{
    local f arg
    for f in /proc/[0-9]*/cmdline; do
        while IFS= read -r -d '' arg; do
            if [[ $arg == "$1" ]]; then
                f=${f%/cmdline}
                [[ ! $f/root$STATE/$LAB_STAMP -ef $STATE/$LAB_STAMP ]] || printf '%s\n' "${f#/proc/}"
                break
            fi
        done 2>/dev/null <"$f" || true
    done
}

need_root()
{
    [[ $EUID == 0 ]] || die "needs root: it makes namespaces, links and mounts"
}

need_programs()
{
    local p missing=()
    for p in "$@"; do
        command -v "$p" >/dev/null || missing+=("$p")
    done
    ((${#missing[@]} == 0)) ||
        die "missing programs: ${missing[*]}; install the packages listed in $LAB_SRC/packages"
}

# lab_find: set STATE to the running lab's directory, or end with a message.
lab_find()
{
    if [[ -n ${STATE_OPTION:-} ]]; then
        STATE=$STATE_OPTION
    elif [[ -L $LAB_MARK ]]; then
        STATE=$(readlink "$LAB_MARK")
    else
        STATE=$LAB_DEFAULT_DIR
    fi
    [[ -e $STATE/$LAB_STAMP ]] || die "no lab is up here (looked in $STATE); start one with: lab/lab up"
}

lab_get()
{
    [[ -r $STATE/conf/$1 ]] && cat "$STATE/conf/$1"
}

lab_set()
{
    printf '%s\n' "$2" >"$STATE/conf/$1"
}
