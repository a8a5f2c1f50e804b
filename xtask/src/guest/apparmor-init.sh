#!/bin/busybox sh
# First program of a guest with AppArmor: it unpacks a Debian into a tmpfs and runs the tests there.
set -eu
b=/bin/busybox
$b mkdir /root.new
$b mount -t tmpfs -o mode=755,size=90% root /root.new
cd /root.new
$b tar xf /root.tar
$b rm /root.tar
$b cp $b usr/bin/busybox
$b cp /tests/fumehood usr/local/bin/
$b mkdir tests
$b cp /tests/tests.sh /tests/packaged tests/
$b mount -t proc proc proc
$b mount -t sysfs sysfs sys
$b mount -t securityfs securityfs sys/kernel/security
$b mount -t devtmpfs devtmpfs dev
$b mkdir dev/pts dev/shm
$b mount -t devpts devpts dev/pts
$b mount -t tmpfs -o mode=1777 tmpfs tmp
$b ip link set lo up
$b dmesg -n 1
exec $b switch_root /root.new /bin/sh /tests/tests.sh
