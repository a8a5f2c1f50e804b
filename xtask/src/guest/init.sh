#!/bin/busybox sh
# First program of the guest. It leaves the initial root for a tmpfs, because pivot_root(2) refuses
# to leave the initial root itself; then it is started once more, there.
set -u
if [ ! -e /ready ]; then
    /bin/busybox mkdir /root.new
    /bin/busybox mount -t tmpfs -o mode=755,size=75% root /root.new
    for entry in /*; do
        [ "$entry" = /root.new ] || /bin/busybox cp -a "$entry" /root.new/
    done
    /bin/busybox touch /root.new/ready
    exec /bin/busybox switch_root /root.new /init
fi

export PATH=/bin HOME=/tmp
/bin/busybox mkdir -p /proc /sys /dev /tmp /var/tmp /run /usr
# As everywhere by now: the sandbox shows /usr and the links to it.
/bin/busybox mv /bin /usr/bin
/usr/bin/busybox ln -s usr/bin /bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for dir in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $dir; done
mount -t cgroup2 -o nsdelegate none /sys/fs/cgroup
ip link set lo up
dmesg -n 1

# No group that hands controllers down may have processes: this one moves out of the way.
mkdir /sys/fs/cgroup/init
echo 1 > /sys/fs/cgroup/init/cgroup.procs
echo "+cpu +memory +pids" > /sys/fs/cgroup/cgroup.subtree_control

# delegate USER GROUP: cgroups(7), "cgroup delegation: delegating a hierarchy".
delegate() {
    for file in "" cgroup.procs cgroup.subtree_control cgroup.threads; do
        chown "$1" "$2/$file"
    done
}

# run NAME USER GROUP COMMAND: the command as the user, alone in a group that is the user's.
run() {
    name=$1 user=$2 group=/sys/fs/cgroup$3
    shift 3
    mkdir -p "$group"
    if [ "$user" != root ]; then
        delegate "$user" "$group"
        # A supervisor's leaf: the group above it is what is delegated.
        case "$group" in */fumehood-supervisor) delegate "$user" "${group%/*}" ;; esac
    fi
    echo "--- $name ($user)"
    (echo 0 > "$group/cgroup.procs" && exec su -s /bin/sh "$user" -c "exec $*")
    echo "TEST-RC=$? $name"
}

cd /
. /runs
sync
poweroff -f
