#!/bin/busybox sh
# First program of a guest with systemd: it unpacks a Debian into a tmpfs, adds the tests, and hands
# over to the real init.
set -eu
b=/bin/busybox
$b mkdir /root.new
$b mount -t tmpfs -o mode=755,size=90% root /root.new
cd /root.new
$b tar xf /root.tar
$b rm /root.tar
$b cp /tests/fumehood usr/local/bin/
$b mkdir -p tests home/tester
$b cp /tests/*.* tests/
$b chown 1000:1000 home/tester

echo "tester:x:1000:1000::/home/tester:/bin/sh" >> etc/passwd
echo "tester:!:19000::::::" >> etc/shadow
echo "tester:x:1000:" >> etc/group
: > etc/machine-id

units=etc/systemd/system
$b mkdir -p $units/multi-user.target.wants etc/systemd/system.conf.d
printf '[Manager]\nShowStatus=no\n' > etc/systemd/system.conf.d/quiet.conf
# The console is for the tests, and there are no modules to be loaded.
for unit in getty@.service serial-getty@.service systemd-modules-load.service; do
    $b ln -sf /dev/null $units/$unit
done
$b cat > $units/tests.service <<'UNIT'
[Unit]
After=multi-user.target systemd-logind.service dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh /tests/tests.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
UNIT
$b ln -s ../tests.service $units/multi-user.target.wants/
exec $b switch_root /root.new /sbin/init
