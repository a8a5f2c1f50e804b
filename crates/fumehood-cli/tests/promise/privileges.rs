//! Who the program is and what it may.

use crate::support::{
    Feed, Fumehood, Probe, Promise, field, host_tool, needs_root, promises, run, skip, user,
    waiting_shell,
};

promises![
    the_user_inside_is_1000,
    cannot_gain_privileges,
    holds_no_capability,
    every_thread_is_confined,
    is_not_root_on_the_host,
    has_no_groups_of_the_host,
    a_setuid_program_gives_nothing,
    no_file_descriptor_is_inherited,
    a_directory_that_the_caller_holds_open_is_not_inherited,
];

fn the_user_inside_is_1000() -> Promise {
    assert_eq!(run(&[], &["sh", "-c", "id -u; id -g"]).prints(), "1000\n1000");
    Ok(())
}

fn status() -> String {
    run(&[], &["cat", "/proc/self/status"]).prints()
}

fn cannot_gain_privileges() -> Promise {
    assert_eq!(field(&status(), "NoNewPrivs"), "1");
    Ok(())
}

fn holds_no_capability() -> Promise {
    let status = status();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    Ok(())
}

fn every_thread_is_confined() -> Promise {
    let text = Probe::get()?.run(&["thread-status"]).prints();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let all = |key: &str| -> Vec<_> {
        text.lines().filter(|line| line.starts_with(key)).filter_map(value).collect()
    };
    assert_eq!(all("NoNewPrivs:"), ["1"; 5]);
    assert_eq!(all("Seccomp:"), ["2"; 5]);
    assert_eq!(all("CapEff:"), ["0000000000000000"; 5]);
    Ok(())
}

fn is_not_root_on_the_host() -> Promise {
    let program = waiting_shell();
    let program: Vec<_> = program.iter().map(String::as_str).collect();
    let live = Fumehood::new(&["--stdin", "inherit"], &program).feed(Feed::Held).spawn();
    let process = live.confined();
    let ids = format!("{}\n{}", process.status("Uid"), process.status("Gid"));
    live.finish().exits(0);
    assert!(ids.split_whitespace().all(|id| id != "0"), "{ids}");
    Ok(())
}

fn has_no_groups_of_the_host() -> Promise {
    let groups = run(&[], &["id", "-G"]).prints();
    let foreign = groups.split(' ').filter(|group| ![user(), "65534"].contains(group));
    assert_eq!(foreign.count(), 0, "{groups}");
    // Groups of the host show as 65534 in there, whichever they are; who may give them up has none.
    let (Ok(()), Ok(setpriv)) = (needs_root("give up groups"), host_tool("setpriv")) else {
        return Ok(());
    };
    let ran = Fumehood::new(&[], &["cat", "/proc/self/status"])
        .under(&[&setpriv, "--groups", "0,27,44"])
        .run();
    let kept = field(&ran.prints(), "Groups");
    assert!(kept.split(' ').all(|group| ["", user()].contains(&group)), "{kept}");
    Ok(())
}

fn a_setuid_program_gives_nothing() -> Promise {
    let Ok(su) = host_tool("su") else { return skip("no setuid program on this host") };
    let script = format!("{su} -c 'id -u' </dev/null; grep Uid /proc/self/status");
    let ran = run(&[], &["sh", "-c", &script]);
    assert!(ran.text().ends_with(&format!("Uid:{}", format!("\t{}", user()).repeat(4))), "{ran}");
    assert!(!ran.text().lines().any(|line| line == "0"), "{ran}");
    Ok(())
}

/// Low numbers, high ones, and some that were opened without close-on-exec on purpose.
const LEAK: &str = "exec 3</etc/passwd 7</ 77</etc/group 500</proc/self/status; exec \"$@\"";

fn no_file_descriptor_is_inherited() -> Promise {
    let bash = host_tool("bash")?;
    let open = Probe::get()?.confined(&[], &["descriptors"]);
    let ran = open.under(&[&bash, "-c", LEAK, "bash"]).run();
    assert_eq!(ran.prints(), "0\n1\n2");
    Ok(())
}

fn a_directory_that_the_caller_holds_open_is_not_inherited() -> Promise {
    let bash = host_tool("bash")?;
    let script = "for fd in /proc/self/fd/*; do ls $fd/etc/shadow 2>/dev/null; done; echo looked";
    let ran = Fumehood::new(&[], &["sh", "-c", script]).under(&[&bash, "-c", LEAK, "bash"]).run();
    assert_eq!(ran.prints(), "looked");
    Ok(())
}
