# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kvm.sh: whether KVM really runs guests here. The presence of /dev/kvm proves nothing: nested in some hypervisors it
# opens, and then crawls or hangs. So two guests are run: a boot sector that leaves through the debug-exit port, which a
# working KVM does in a blink, and then the lab's test guest, up to its first tick.

kvm_boot_sector()
{
    # mov dx, 0xf4; mov al, 0x10; out dx, al; jmp $
    printf '\xba\xf4\x00\xb0\x10\xee\xeb\xfe'
    head -c 502 /dev/zero
    printf '\x55\xaa'
}

# kvm_runs_sector ACCEL SECONDS: QEMU ends with (0x10 << 1) | 1 when the guest executed its instructions.
kvm_runs_sector()
{
    local rc=0 f=$STATE/conf/boot-sector
    kvm_boot_sector >"$f"
    timeout -k 1 "$2" qemu-system-x86_64 -accel "$1" -M pc -m 16 -nodefaults -display none -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=1 -drive "file=$f,format=raw,if=ide" </dev/null >/dev/null 2>&1 || rc=$?
    ((rc == 33))
}

# kvm_runs_guest ACCEL IMAGE: the test guest gets as far as its first tick.
kvm_runs_guest()
{
    local pid rc=0 out=$STATE/conf/probe-console
    qemu-system-x86_64 -accel "$1" -M pc -m 256 -nodefaults -display none -serial "file:$out" \
        -drive "file=$2,format=raw,if=virtio,snapshot=on" </dev/null >/dev/null 2>&1 &
    pid=$!
    wait_until 10 grep -q '^tick ' "$out" || rc=1
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return "$rc"
}

# kvm_probe GUEST-IMAGE: prints kvm or qemu, the latter with a message why.
kvm_probe()
{
    if [[ ! -c /dev/kvm ]]; then
        say "no /dev/kvm: guests run under TCG"
        printf 'qemu\n'
    elif ! kvm_runs_sector kvm 2; then
        say "/dev/kvm is there, but runs no guest in reasonable time: guests run under TCG"
        printf 'qemu\n'
    elif ! kvm_runs_guest kvm "$1"; then
        say "/dev/kvm is there, but the test guest does not boot with it: guests run under TCG"
        printf 'qemu\n'
    else
        printf 'kvm\n'
    fi
}
