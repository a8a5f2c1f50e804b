//! What the program is told about itself.

use std::collections::BTreeSet;

use crate::support::{Fumehood, Promise, Ran, TempDir, marker, promises, run};

promises![
    the_environment_is_the_declared_one,
    a_variable_can_be_set,
    a_variable_can_be_inherited_by_name,
    a_variable_that_is_not_set_is_not_inherited,
    a_variable_of_the_default_can_be_replaced,
    a_secret_is_not_inherited_by_accident,
    the_working_directory_is_the_workspace,
    a_working_directory_can_be_chosen,
    the_host_name_is_not_the_host_s,
    arguments_arrive_as_they_are,
];

#[track_caller]
fn variables(ran: Ran) -> BTreeSet<String> {
    ran.prints().lines().map(str::to_owned).collect()
}

fn expected(extra: &[&str]) -> BTreeSet<String> {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let fixed = [path, "HOME=/tmp", "LANG=C.UTF-8", "TMPDIR=/tmp"];
    fixed.iter().chain(extra).map(|&variable| variable.to_owned()).collect()
}

fn the_environment_is_the_declared_one() -> Promise {
    let ran = Fumehood::new(&[], &["env"]).env("LD_PRELOAD_OF_MINE", "x").env("IFS_", "y").run();
    assert_eq!(variables(ran), expected(&[]));
    Ok(())
}

fn a_variable_can_be_set() -> Promise {
    let ran = run(&["--env", "A=1", "--env", "B=x=y z"], &["env"]);
    assert_eq!(variables(ran), expected(&["A=1", "B=x=y z"]));
    Ok(())
}

fn a_variable_can_be_inherited_by_name() -> Promise {
    let ran = Fumehood::new(&["--env", "COLOUR"], &["env"]).env("COLOUR", "blue").run();
    assert_eq!(variables(ran), expected(&["COLOUR=blue"]));
    Ok(())
}

fn a_variable_that_is_not_set_is_not_inherited() -> Promise {
    assert_eq!(variables(run(&["--env", "NOT_SET_ANYWHERE"], &["env"])), expected(&[]));
    Ok(())
}

fn a_variable_of_the_default_can_be_replaced() -> Promise {
    let home = run(&["--env", "HOME=/workspace"], &["sh", "-c", "echo $HOME"]).prints();
    assert_eq!(home, "/workspace");
    Ok(())
}

fn a_secret_is_not_inherited_by_accident() -> Promise {
    let secret = marker();
    for name in ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "MY_API_KEY"] {
        let ran = Fumehood::new(&["--env", name], &["env"]).env(name, &secret).run();
        assert!(!ran.text().contains(&secret), "{name} was passed on");
        ran.exits(125).complains_in_one_line(&[name]);
    }
    Ok(())
}

fn the_working_directory_is_the_workspace() -> Promise {
    assert_eq!(run(&[], &["pwd"]).prints(), "/workspace");
    Ok(())
}

fn a_working_directory_can_be_chosen() -> Promise {
    let dir = TempDir::new();
    let volume = dir.volume("/data", "ro");
    assert_eq!(run(&["--volume", &volume, "--workdir", "/data"], &["pwd"]).prints(), "/data");
    assert_eq!(run(&["--workdir", "/tmp"], &["pwd"]).prints(), "/tmp");
    Ok(())
}

fn the_host_name_is_not_the_host_s() -> Promise {
    assert_eq!(run(&[], &["uname", "-n"]).prints(), "sandbox");
    assert_eq!(run(&["--hostname", "box"], &["uname", "-n"]).prints(), "box");
    Ok(())
}

fn arguments_arrive_as_they_are() -> Promise {
    let odd = ["printf", "[%s]", "a b", "", "--timeout", "ünï", "*", "$HOME", "--", "\n-"];
    let ran = run(&[], &odd).exits(0);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "[a b][][--timeout][ünï][*][$HOME][--][\n-]");
    Ok(())
}
