#!/bin/sh
# What AppArmor denies, what Fumehood says of it, and whether what it advises helps. The guest's only
# program; root runs it.
export NO_COLOR=1 PATH=/usr/local/bin:/usr/bin:/usr/sbin
profile=/etc/apparmor.d/fumehood
passed=0 failed=0
echo "Linux $(uname -r), $(apparmor_parser --version | head -n 1)"

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

as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups -- "$@"; }

# Whoever it is runs a program, whose profile is the second word.
runs_under() {
    want=$1
    shift
    got=$("$@" fumehood run -- sh -c 'cat /proc/self/attr/current') && echo "$got" && [ "$got" = "$want" ]
}

# refused_with WORDS [WHO…]
refused_with() {
    words=$1
    shift
    "$@" fumehood run -- true 2> /tmp/refusal
    status=$?
    cat /tmp/refusal
    [ $status = 99 ] && grep -qF "$words" /tmp/refusal
}

# What a refusal says would run it without.
waiver() { sed -n 's/^.*to run without: //p' /tmp/refusal; }

runs_without() { as_user fumehood run $(waiver) -- true; }

# load FLAGS RULE…
load() {
    flags=$1
    shift
    echo "abi <abi/4.0>, include <tunables/global>" > $profile
    echo "profile fumehood /usr/local/bin/fumehood $flags { $* }" >> $profile
    apparmor_parser -r $profile || echo "test the profile does not load: $* ... FAILED"
}

# What a service that nobody wrote namespaces into is likely to have.
usual="file, network, signal, ptrace, unix, mqueue,"

holds no_profile_keeps_nobody_from_it runs_under unconfined as_user

load "" "$usual"
holds a_profile_without_userns_is_refused \
    refused_with '(apparmor): the AppArmor profile fumehood denies new user namespaces' as_user
holds what_it_denies_can_be_waived runs_without
holds root_is_refused_as_well \
    refused_with '(apparmor): the AppArmor profile fumehood denies new user namespaces'

# The rules as they are advised.
rules=$(sed -n 's/^.*to fix it: add to that profile: \(.*\); or .*$/\1,/p' /tmp/refusal)
echo "advised: $rules"
load "" "$usual $rules"
holds the_rules_that_are_advised_help runs_under 'fumehood (enforce)' as_user

load "" "$usual userns, capability,"
holds a_profile_without_mount_is_refused refused_with '(apparmor): the AppArmor profile fumehood' as_user
holds what_that_denies_can_be_waived runs_without

load "flags=(complain)" "$usual"
holds a_profile_that_only_complains_keeps_nobody_from_it runs_under 'fumehood (complain)' as_user

cp /tests/packaged $profile
holds the_packaged_profile_loads apparmor_parser -r $profile
holds under_the_packaged_profile_a_user_s_programs_run runs_under 'fumehood (unconfined)' as_user
holds under_the_packaged_profile_root_s_programs_run runs_under 'fumehood (unconfined)' env

verdict=ok
[ $failed = 0 ] || verdict=FAILED
echo "test result: $verdict. $passed passed; $failed failed; 0 ignored; in all"
busybox poweroff -f
