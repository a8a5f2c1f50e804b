//! Roots that are not the host's: directories and images.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Fumehood, Images, Mount, Promise, TempDir, add, archive, busybox, host_tool, promises, skip,
    unpack,
};

promises![
    an_image_runs_as_it_says,
    arguments_are_added_to_the_entrypoint_of_an_image,
    nothing_of_the_host_is_in_an_image,
    an_image_cannot_be_written,
    the_user_of_an_image_is_the_program_s,
    mounts_and_scratch_work_in_an_image,
    a_directory_is_a_root,
    a_static_program_alone_is_an_image,
    a_debian_image_runs,
    a_killed_import_is_never_an_image,
    no_image_no_run,
];

const CONFIG: &str = r#"{
    "Entrypoint": ["sh", "-c"], "Cmd": ["echo $GREETING from $(pwd) as $(id -un)"],
    "Env": ["PATH=/bin", "GREETING=hello"], "WorkingDir": "/srv/app"
}"#;

fn config(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

fn plain(files: &[(&str, &str)]) -> Result<Images, crate::support::Skip> {
    let images = Images::new();
    images.import("box", &busybox(files)?, &config(r#"{"Env": ["PATH=/bin"]}"#));
    Ok(images)
}

fn an_image_runs_as_it_says() -> Promise {
    let images = Images::new();
    images.import("box:1", &busybox(&[])?, &config(CONFIG));
    assert_eq!(images.run("box:1", &[], &[]).prints(), "hello from /srv/app as sandbox");
    let ran = images.run("box:1", &["-e", "GREETING=bye", "-w", "/tmp"], &[]);
    assert_eq!(ran.prints(), "bye from /tmp as sandbox");
    let explained = images.fumehood(&["explain", "--json", "--image", "box:1"]);
    let explained: Value = serde_json::from_slice(&explained.stdout).expect("it is JSON");
    assert_eq!(explained["image"]["names"][0], "box:1");
    assert_eq!(explained["image"]["config"]["workdir"], "/srv/app");
    assert_eq!(explained["program"]["cwd"], "/srv/app");
    assert_eq!(explained["program"]["args"][0], "sh");
    assert_eq!(explained["environment"]["GREETING"]["from"], "image");
    Ok(())
}

fn arguments_are_added_to_the_entrypoint_of_an_image() -> Promise {
    let images = Images::new();
    images.import("box", &busybox(&[])?, &config(CONFIG));
    assert_eq!(images.run("box", &[], &["echo own"]).prints(), "own");
    let ran = images.run("box", &["--entrypoint", "cat"], &["/etc/hostname"]);
    assert_eq!(ran.prints(), "sandbox");
    assert_eq!(images.run("box", &["--entrypoint", ""], &["pwd"]).prints(), "/srv/app");
    Ok(())
}

fn nothing_of_the_host_is_in_an_image() -> Promise {
    let images = plain(&[("etc/passwd", "root:x:0:0::/:/bin/sh\n"), ("opt/here", "")])?;
    let listing = images.run("box", &[], &["ls", "-A", "/"]).prints();
    let names: Vec<_> = listing.lines().collect();
    assert_eq!(names, ["bin", "dev", "etc", "opt", "proc", "tmp", "workspace"]);
    let passwd = images.run("box", &[], &["cat", "/etc/passwd"]).prints();
    assert_eq!(passwd, "root:x:0:0::/:/bin/sh\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh");
    let etc = images.run("box", &[], &["ls", "-A", "/etc"]).prints();
    assert_eq!(etc, "group\nhostname\nhosts\npasswd\nresolv.conf");
    let mark = TempDir::new();
    mark.file("made-a-moment-ago", "");
    let script = "find / -name made-a-moment-ago; echo looked";
    assert_eq!(images.run("box", &[], &["sh", "-c", script]).prints(), "looked");
    Ok(())
}

fn an_image_cannot_be_written() -> Promise {
    let images = plain(&[("opt/file", "before")])?;
    let script = "for dir in / /bin /etc /opt /dev; do touch $dir/x && echo $dir; done
        for file in /bin/busybox /opt/file /etc/hosts /etc/passwd /etc/resolv.conf; do
        (echo evil >>$file) && echo $file; done; echo tried";
    assert_eq!(images.run("box", &[], &["sh", "-c", script]).text(), "tried");
    let script = "cat /opt/file; mount -t tmpfs none /opt || echo refused";
    assert_eq!(images.run("box", &[], &["sh", "-c", script]).text(), "beforerefused");
    // Root's program is nobody, who could not write anyway.
    let mounts = images.run("box", &[], &["cat", "/proc/self/mountinfo"]).prints();
    let mounts: Vec<_> = mounts.lines().map(Mount::parse).collect();
    for point in ["/", "/bin", "/opt", "/etc", "/etc/hosts"] {
        let mount = mounts.iter().rfind(|mount| mount.point == point).expect(point);
        let safe = ["ro", "nosuid", "nodev"].into_iter().all(|flag| mount.has(flag));
        assert!(safe, "{point}: {mount:?}");
    }
    Ok(())
}

fn the_user_of_an_image_is_the_program_s() -> Promise {
    let images = Images::new();
    let passwd = "root:x:0:0::/:/bin/sh\napp:x:123:45::/:/bin/sh\n";
    let layer = busybox(&[("etc/passwd", passwd), ("etc/group", "app:x:45:\n")])?;
    for (user, expected) in [
        ("app", "uid=123(app) gid=45(app)"),
        ("65532", "uid=65532(sandbox) gid=65532(sandbox)"),
        ("root", "uid=1000(sandbox) gid=1000(sandbox)"),
    ] {
        images.import("box", &layer, &json!({ "User": user, "Env": ["PATH=/bin"] }));
        let ran = images.run("box", &[], &["id"]).prints();
        assert!(ran.starts_with(expected), "{user}: {ran}");
        let script = "echo mine >/workspace/f && cat /workspace/f && ls -ln /workspace/f";
        let ran = images.run("box", &[], &["sh", "-c", script]).prints();
        assert!(ran.starts_with("mine\n"), "{user}: {ran}");
    }
    Ok(())
}

fn mounts_and_scratch_work_in_an_image() -> Promise {
    let images = plain(&[("opt/file", "image's")])?;
    let dir = TempDir::new();
    dir.file("file", "host's");
    for target in ["/data", "/opt", "/a/b/c", "/workspace/in"] {
        let volume = dir.volume(target, "ro");
        let file = format!("{target}/file");
        assert_eq!(images.run("box", &["-v", &volume], &["cat", &file]).prints(), "host's");
    }
    let script = "for dir in /tmp /workspace /dev/shm; do echo $dir >$dir/f && cat $dir/f; done";
    let ran = images.run("box", &[], &["sh", "-c", script]).prints();
    assert_eq!(ran, "/tmp\n/workspace\n/dev/shm");
    let ran = images.run("box", &["-v", &dir.volume("/opt/missing", "ro")], &["true"]).exits(125);
    ran.complains("/opt/missing");
    Ok(())
}

fn a_directory_is_a_root() -> Promise {
    let dir = TempDir::new();
    unpack(&busybox(&[("etc/hosts", "theirs"), ("opt/file", "x")])?, dir.path())?;
    let flags = ["--rootfs", &dir.path().display().to_string(), "-e", "PATH=/bin"];
    let run = |program: &[&str]| Fumehood::new(&flags, program).run();
    let listing = run(&["ls", "-A", "/"]).prints();
    assert_eq!(listing, "bin\ndev\netc\nopt\nproc\ntmp\nworkspace");
    assert!(run(&["cat", "/etc/hosts"]).prints().contains("localhost"), "it is the sandbox's");
    assert_eq!(run(&["ls", "/etc"]).prints(), "hosts", "nothing is made in it");
    run(&["touch", "/opt/new"]).exits(1).complains("Read-only");
    assert_eq!(fs::read_to_string(dir.join("etc/hosts")).expect("it is there"), "theirs");
    let slash = Fumehood::new(&["--rootfs", "/"], &["true"]).run().exits(125);
    slash.complains("is all of the host");
    Fumehood::new(&["--rootfs", "/not/there"], &["true"]).run().exits(125).complains("root.dir");
    Ok(())
}

/// Static Go programs are what is run in an image of nothing else.
fn a_static_program_alone_is_an_image() -> Promise {
    let go = host_tool("go")?;
    let dir = TempDir::open_to_all();
    let code = "package main\nimport (\"fmt\"; \"os\"; \"net\")\nfunc main() {\n\
        addrs, _ := net.LookupHost(\"localhost\")\n\
        entries, _ := os.ReadDir(\"/\")\nfor _, e := range entries { fmt.Print(e.Name(), \" \") }\n\
        fmt.Println(len(addrs) > 0, os.Args[1:])\n}\n";
    dir.file("main.go", code);
    let built = Command::new(go)
        .args(["build", "-o", "app", "main.go"])
        .current_dir(dir.path())
        .envs([("CGO_ENABLED", "0"), ("GO111MODULE", "off"), ("GOFLAGS", "-p=2")])
        .env("GOCACHE", dir.join("cache"))
        .env("HOME", dir.path())
        .output()
        .expect("go can be run");
    assert!(built.status.success(), "{built:?}");
    let mut layer = tar::Builder::new(Vec::new());
    let program = fs::read(dir.join("app")).expect("it was built");
    add(&mut layer, "app", 0o755, &program);
    let images = Images::new();
    let layer = layer.into_inner().expect("memory can be written to");
    images.import("scratch", &layer, &json!({ "Entrypoint": ["/app"], "Cmd": ["-x"] }));
    let ran = images.run("scratch", &["--memory", "unlimited"], &[]).prints();
    assert_eq!(ran, "app dev etc proc tmp workspace true [-x]");
    Ok(())
}

/// `FUMEHOOD_DEBIAN` names a tar of a Debian root, which takes the network and minutes to make.
fn a_debian_image_runs() -> Promise {
    let Some(root) = std::env::var_os("FUMEHOOD_DEBIAN") else {
        return skip(
            "FUMEHOOD_DEBIAN names no tar: mmdebstrap --variant=minbase stable debian.tar",
        );
    };
    let layer = fs::read(&root).expect("FUMEHOOD_DEBIAN can be read");
    let images = Images::new();
    images.import("debian", &layer, &json!({ "Cmd": ["bash"] }));
    let script = "perl -e 'print 6 * 7' && dpkg-query -W -f '\\n${Package}\\n' bash && \
        getent passwd $(id -u) | cut -d: -f1 && echo x | sha256sum | cut -c1-8 && \
        bash -c 'echo $0 $BASH' && cat /etc/debian_version >/dev/null && find / -xdev -perm /6000";
    let fumehood = Fumehood::new(&["--image", "debian", "--timeout", "60s"], &["sh", "-c", script]);
    let ran = images.known_to(fumehood).patience(Duration::from_secs(100)).run().prints();
    assert_eq!(ran, "42\nbash\nsandbox\n73cb3858\nbash /usr/bin/bash");
    Ok(())
}

fn a_killed_import_is_never_an_image() -> Promise {
    let images = Images::new();
    let layer = busybox(&[])?;
    let archive = archive(&layer, &json!({ "Env": ["PATH=/bin"] }));
    // Through a pipe that does not end: it is killed in the middle.
    let args = ["image", "import", "--name", "box", "-"];
    let mut import = images.command(&args).stdin(Stdio::piped()).spawn().expect("it can be run");
    let mut pipe = import.stdin.take().expect("it is piped");
    pipe.write_all(&archive[..archive.len() - 2048]).expect("it reads all that comes");
    import.kill().expect("it runs");
    import.wait().expect("it was killed");
    let staging = images.path("fumehood/images/staging");
    assert_eq!(fs::read_dir(&staging).expect("it had begun").count(), 1, "nothing was left");
    assert_eq!(images.fumehood(&["image", "list"]).stdout, b"");
    images.run("box", &[], &["true"]).exits(125).complains("is not in the store");
    images.import("box", &layer, &json!({ "Env": ["PATH=/bin"] }));
    images.run("box", &[], &["true"]).exits(0);
    assert_eq!(fs::read_dir(&staging).expect("it is there").count(), 0, "it is still there");
    let removed = images.fumehood(&["image", "remove", "box"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(images.fumehood(&["image", "list"]).stdout, b"");
    Ok(())
}

fn no_image_no_run() -> Promise {
    let images = Images::new();
    images.run("nothing", &[], &["true"]).exits(125).complains("fumehood image import");
    let layer = busybox(&[])?;
    images.import("box", &layer, &json!({}));
    images.run("box", &[], &[]).exits(125).complains("names no program");
    Ok(())
}
