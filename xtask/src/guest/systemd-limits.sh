#!/bin/sh
# limits.sh [WORD…]: holds that control groups limit what fumehood runs, if it is run behind these
# words, such as `systemd-run --scope`.
exits() {
    want=$1
    shift
    "$@"
    got=$?
    [ $got = "$want" ] && return
    echo "$*: exit status $got rather than $want"
    exit 1
}

held=$("$@" fumehood check | grep -cE '^(memory|pids|cpu-time) +held +control group: cgroup v2 ')
if [ "$held" != 3 ]; then
    echo "only $held of 3 are held"
    "$@" fumehood check
    exit 1
fi
exits 137 "$@" fumehood run --memory 64MiB --timeout 300s --cpu-time 300s -- \
    sh -c 'head -c 200000000 /dev/zero | tail'
exits 137 "$@" fumehood run --pids-limit 8 --timeout 300s --cpu-time 300s -- \
    sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 300 & done; wait'
exits 124 "$@" fumehood run --cpu-time 1s --timeout 300s -- \
    sh -c 'while :; do :; done & while :; do :; done'
