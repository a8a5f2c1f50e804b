#!/bin/sh
# What `fumehood check` advises under systemd, done to the letter; root runs this in a service.
export NO_COLOR=1 PATH=/usr/local/bin:/usr/bin:/usr/sbin
version=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
passed=0 failed=0 ignored=0
echo "systemd $version"

# holds NAME COMMAND…
holds() {
    name=$1
    shift
    if "$@" > /tmp/said 2>&1; then
        passed=$((passed + 1))
        echo "test $name ... ok"
    else
        failed=$((failed + 1))
        echo "test $name ... FAILED"
        cat /tmp/said
    fi
}

# ignores NAME REASON
ignores() {
    ignored=$((ignored + 1))
    echo "test $1 ... ignored ($2)"
}

# A session of an ordinary user, with all that a login gives.
as_user() { su - tester -c "export NO_COLOR=1 PATH=$PATH; $1"; }

# What is printed to whom runs `fumehood check` like this.
advice() { "$@" 'fumehood check' | sed -n '/^memory/,/^pids/p' | grep -v '^[mp]'; }

# Its first line without the words that stand for the run.
command_of() { advice "$@" | sed -n 's/^ *to fix it: \(systemd-run .*\)fumehood …$/\1/p'; }

# Its lines for a unit file.
unit_of() { advice "$@" | sed -n '/\[Service\]/,$s/^ *//p'; }

refused_with() {
    words=$1
    shift
    "$@" 'fumehood run --memory 64MiB -- true' 2> /tmp/refusal
    status=$?
    cat /tmp/refusal
    [ $status = 99 ] && grep -qF "$words" /tmp/refusal
}

# unit_file LINES COMMAND: a service with these lines.
unit_file() { printf '%s\nType=oneshot\nExecStart=%s\n' "$1" "$2"; }

user_command=$(command_of as_user)
root_command=$(command_of sh -c)
echo "an ordinary user is told: $user_command"
echo "root is told: $root_command"

holds a_plain_session_is_refused_with_the_command \
    refused_with 'to fix it: systemd-run --user --scope -p Delegate=yes fumehood' as_user
holds a_user_has_limits_by_the_command as_user "sh /tests/limits.sh $user_command"
undelegated() { as_user "systemd-run --user --scope $1"; }
holds a_scope_that_is_not_delegated_is_refused refused_with 'has not delegated' undelegated

# The limit in a form that no other group has.
limited() { find /sys/fs/cgroup -name memory.max -exec grep -lx 83886080 {} +; }

limits_stay_when_the_manager_reloads() {
    as_user "$user_command fumehood run --memory 80MiB --timeout 300s -- sleep 250" &
    until file=$(limited) && [ -n "$file" ]; do sleep 0.2; done
    as_user 'systemctl --user daemon-reload && systemctl --user set-property "run-*.scope" CPUWeight=50'
    echo "$file" && limited && [ "$(limited)" = "$file" ]
    stayed=$?
    echo 1 > "${file%/*}/cgroup.kill"
    wait $!
    return $stayed
}
holds limits_stay_when_the_manager_reloads limits_stay_when_the_manager_reloads

holds root_in_a_service_is_refused_with_the_command \
    refused_with 'to fix it: systemd-run --scope -p Delegate=yes fumehood' sh -c
holds root_has_limits_by_the_command sh /tests/limits.sh $root_command

if [ "$version" -ge 254 ]; then
    unit_file "$(unit_of sh -c)" '/bin/sh /tests/limits.sh' > /etc/systemd/system/job.service
    mkdir -p /etc/systemd/user
    unit_file "$(unit_of as_user)" '/bin/sh /tests/limits.sh' > /etc/systemd/user/job.service
    holds a_user_s_service_has_limits_by_the_lines \
        as_user 'systemctl --user daemon-reload; systemctl --user start job.service'
else
    # A service that is fumehood alone needs no subgroup.
    ignores a_user_s_service_has_limits_by_the_lines 'no DelegateSubgroup='
    run='/usr/local/bin/fumehood run --memory 64MiB -- true'
    unit_file "$(unit_of sh -c)" "$run" > /etc/systemd/system/job.service
fi
cat /etc/systemd/system/job.service
started() { systemctl daemon-reload && systemctl start job.service || ! systemctl status job.service; }
holds root_s_service_has_limits_by_the_lines started

# The service as it is packaged.
install_service() {
    install -D /usr/local/bin/fumehood /usr/bin/fumehood &&
        install -D -m 644 /tests/serve.toml /etc/fumehood/serve.toml &&
        install -D -m 644 /tests/fumehood.sysusers /usr/lib/sysusers.d/fumehood.conf &&
        systemd-sysusers &&
        install -D -m 644 /tests/fumehood.service /etc/systemd/system/fumehood.service &&
        systemctl daemon-reload && systemctl start fumehood ||
        ! { systemctl status fumehood; journalctl -u fumehood; }
}
holds the_packaged_service_becomes_ready install_service

# It is nobody's, but memory is limited by a group of the job's own.
is_held() {
    job='{"args":["head","-c","9","/dev/zero"],"limits":{"memory":"80MiB","cpu_time":"5s","wall_time":"60s"}}'
    perl /tests/ask.pl /v1/runs "$job" > /tmp/answer
    grep -F '"exited","code":0' /tmp/answer && grep -o '"memory":{"state":"held"' /tmp/answer &&
        [ "$(stat -c %u "/proc/$(systemctl show -P MainPID fumehood)")" != 0 ] || ! cat /tmp/answer
}
holds the_packaged_service_holds_every_limit is_held

# Its own group kills a program, which is no reason to stop the service. Little memory and much time: in
# a guest that is emulated it takes seconds to fill what a page at a time is read into.
survives() {
    job='{"args":["tail","/dev/zero"],"limits":{"memory":"24MiB","cpu_time":"60s","wall_time":"60s"}}'
    perl /tests/ask.pl /v1/runs "$job" > /tmp/answer
    grep -F out-of-memory /tmp/answer && perl /tests/ask.pl /healthz | grep -x OK || ! cat /tmp/answer
}
holds the_packaged_service_outlives_a_program_out_of_memory survives

is_reloaded() { systemctl reload fumehood && perl /tests/ask.pl /readyz | grep -F ' 200 '; }
holds the_packaged_service_reads_its_settings_anew is_reloaded

ends_well() {
    systemctl stop fumehood
    [ "$(systemctl show -P Result fumehood)" = success ] || ! systemctl status fumehood
}
holds the_packaged_service_ends_in_good_order ends_well

nothing_is_left() { ! find /sys/fs/cgroup -name 'fumehood-*' | grep .; }
holds no_group_is_left nothing_is_left

verdict=ok
[ $failed = 0 ] || verdict=FAILED
echo "test result: $verdict. $passed passed; $failed failed; $ignored ignored; in all"
