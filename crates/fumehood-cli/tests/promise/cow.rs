//! Copy-on-write mounts: what the program changes stays inside until it is applied.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{
    Feed, Fumehood, Images, Mount, Promise, Ran, TempDir, busybox, flag, given_time, host_tool,
    marker, needs_root, promises, python, require_tools, run,
};

promises![
    what_is_written_stays_inside,
    a_diff_lists_exactly_what_changed,
    applying_makes_it_so,
    a_file_edited_on_the_host_meanwhile_is_refused_and_named,
    what_was_moved_is_on_the_host_though_its_place_was_taken_meanwhile,
    nothing_is_applied_after_a_failure,
    here_is_the_current_directory,
    a_patch_can_be_applied_by_git,
    renamed_and_replaced_directories_are_right,
    a_hard_link_on_the_host_keeps_its_other_name,
    changes_are_limited,
    the_layers_cannot_be_seen,
    the_program_cannot_forge_a_layer,
    what_must_not_come_to_the_host_is_refused,
    a_killed_program_leaves_a_diff_too,
    two_mounts_are_told_apart,
    a_mount_inside_is_not_lost_silently,
    a_file_cannot_be_copy_on_write,
    changes_of_root_s_run_belong_to_the_owner,
    changes_are_kept_in_a_directory_and_a_later_run_continues_on_them,
    what_was_applied_is_not_kept_any_longer,
    what_was_changed_on_the_host_between_two_runs_is_refused,
    a_directory_that_keeps_changes_is_nobody_else_s,
    a_directory_that_cannot_keep_changes_is_refused,
    an_image_can_hold_a_copy_on_write_mount,
];

/// A directory to keep changes in, and the flag for a project whose changes it keeps.
fn keeping(project: &TempDir) -> (TempDir, String) {
    let kept = TempDir::new();
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let (source, upper) = (project.path().display(), kept.path().display());
    let mount = format!("source={source},target=/workspace,cow,upper={upper}");
    (kept, mount)
}

/// Runs a script over a project whose changes are kept.
fn kept(mount: &str, flags: &[&str], script: &str) -> Ran {
    let flags = [&["--mount", mount, "--diff"], flags].concat();
    Fumehood::new(&flags, &["sh", "-c", script]).reported().run()
}

/// What stands in the directory itself.
fn holds(dir: &TempDir) -> Vec<String> {
    let names = fs::read_dir(dir.path()).expect("it can be read").flatten();
    let mut names: Vec<_> = names.map(|one| one.file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// A project in a directory that the program may change.
fn project() -> TempDir {
    let dir = TempDir::new();
    dir.file("notes.txt", "notes\n");
    dir.file("main.c", "int main(void) { return 0; }\n");
    dir.file("Makefile", "out/main: main.c\n\tmkdir -p out && cc -o $@ main.c\n");
    fs::create_dir(dir.join("sub")).expect("the directory is ours");
    dir.file("sub/file", "file\n");
    dir
}

/// Runs a script in a directory with `--here`.
fn here(dir: &TempDir, flags: &[&str], script: &str) -> Ran {
    let flags = [&["--here"], flags].concat();
    Fumehood::new(&flags, &["sh", "-c", script]).cwd(dir.path()).reported().run()
}

/// All names below a directory with what they hold, to be compared.
fn snapshot(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read").flatten() {
        let path = entry.path();
        let metadata = path.symlink_metadata().expect("it is there");
        let content = if metadata.is_file() { fs::read(&path).unwrap_or_default() } else { vec![] };
        all.push((path.display().to_string(), metadata.mode(), content));
        if metadata.is_dir() {
            all.extend(snapshot(&path));
        }
    }
    all.sort();
    all
}

fn what_is_written_stays_inside() -> Promise {
    let dir = project();
    let before = snapshot(dir.path());
    let script = "echo more >>notes.txt; rm main.c; mkdir new; touch new/x; chmod 700 sub; \
        rm -r sub; ln -s /etc x; mv Makefile M; cat notes.txt";
    let ran = here(&dir, &[], script).exits(0);
    assert_eq!(ran.text(), "notes\nmore", "{ran}");
    assert_eq!(snapshot(dir.path()), before);
    assert_eq!(ran.report()["diff"][0]["changes"].as_array().map(Vec::len), Some(8), "{ran}");
    Ok(())
}

fn a_diff_lists_exactly_what_changed() -> Promise {
    require_tools(&["make", "cc"])?;
    let dir = project();
    let before = snapshot(dir.path());
    let ran = here(&dir, &["--diff"], "make >/dev/null && rm notes.txt").exits(0);
    assert_eq!(ran.text(), "deleted   notes.txt\nadded     out/\nadded     out/main");
    assert_eq!(snapshot(dir.path()), before);
    Ok(())
}

fn applying_makes_it_so() -> Promise {
    let dir = project();
    let script = "mkdir -p out; echo x >out/x; rm notes.txt; echo more >>main.c; chmod 750 sub; \
        rm sub/file; ln -s main.c link";
    let ran = here(&dir, &["--apply"], script).exits(0);
    let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
    assert_eq!(read("out/x"), "x\n", "{ran}");
    assert_eq!(read("main.c"), "int main(void) { return 0; }\nmore\n");
    assert_eq!(read("link"), read("main.c"));
    assert!(!dir.join("notes.txt").exists() && !dir.join("sub/file").exists());
    let metadata = fs::metadata(dir.join("sub")).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
    assert_eq!(ran.report()["applied"][0]["applied"], 7, "{ran}");
    assert_eq!(ran.report()["applied"][0]["refused"].as_array().map(Vec::len), Some(0));
    Ok(())
}

fn a_file_edited_on_the_host_meanwhile_is_refused_and_named() -> Promise {
    let dir = project();
    let script = "echo mine >main.c; echo mine >notes.txt; rm sub/file; read line; exit 0";
    let ran = Fumehood::new(&["--here", "--apply"], &["sh", "-c", script, &marker()])
        .cwd(dir.path())
        .feed(Feed::Held)
        .reported()
        .spawn();
    ran.confined();
    fs::write(dir.join("main.c"), "theirs").expect("the file is ours");
    fs::write(dir.join("sub/file"), "theirs").expect("the file is ours");
    let ran = ran.finish().exits(98);
    let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
    assert_eq!((read("main.c").as_str(), read("sub/file").as_str()), ("theirs", "theirs"));
    assert_eq!(read("notes.txt"), "mine\n");
    let refused = ran.report()["applied"][0]["refused"].clone();
    let paths: Vec<_> = refused.as_array().into_iter().flatten().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["main.c", "sub/file"], "{ran}");
    assert_eq!(read("main.c.fumehood"), "mine\n");
    ran.complains("main.c: was changed on the host").complains("sub/file");
    Ok(())
}

fn what_was_moved_is_on_the_host_though_its_place_was_taken_meanwhile() -> Promise {
    let dir = project();
    let script = "mv notes.txt notes.bak; echo mine >notes.txt; mv main.c main.bak; mkdir main.c; read line; exit 0";
    let ran = Fumehood::new(&["--here", "--apply"], &["sh", "-c", script, &marker()])
        .cwd(dir.path())
        .feed(Feed::Held)
        .spawn();
    ran.confined();
    dir.file("notes.bak", "theirs");
    dir.file("main.bak", "theirs");
    let ran = ran.finish().exits(98);
    ran.complains("notes.bak: was changed on the host")
        .complains("is notes.bak.fumehood beside it");
    let texts = ["notes.bak", "notes.bak.fumehood", "notes.txt", "main.bak", "main.bak.fumehood"]
        .map(|path| fs::read_to_string(dir.join(path)).unwrap_or_default());
    let main = "int main(void) { return 0; }\n";
    assert_eq!(texts, ["theirs", "notes\n", "mine\n", "theirs", main]);
    assert!(dir.join("main.c").is_dir());
    Ok(())
}

fn nothing_is_applied_after_a_failure() -> Promise {
    let dir = project();
    let before = snapshot(dir.path());
    let ran = here(&dir, &["--apply"], "rm notes.txt; exit 3").exits(3);
    assert_eq!(snapshot(dir.path()), before);
    ran.complains("nothing was applied");
    here(&dir, &["--apply=always"], "rm notes.txt; exit 3").exits(3);
    assert!(!dir.join("notes.txt").exists());
    Ok(())
}

fn here_is_the_current_directory() -> Promise {
    let dir = project();
    let ran = here(&dir, &[], "pwd; ls");
    assert_eq!(ran.prints(), "/workspace\nMakefile\nmain.c\nnotes.txt\nsub");
    Ok(())
}

fn a_patch_can_be_applied_by_git() -> Promise {
    require_tools(&["git"])?;
    let (dir, copy) = (project(), project());
    let script = "echo more >>notes.txt; echo new >new; rm main.c; chmod 755 Makefile; \
        printf 'no newline' >sub/file; ln -s main.c link";
    let ran = here(&dir, &["--diff=patch"], script).exits(0);
    fs::write(copy.join("../patch"), &ran.stdout).expect("the directory is ours");
    let git = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(copy.join("../patch"))
        .current_dir(copy.path())
        .env("GIT_CEILING_DIRECTORIES", "/")
        .output()
        .expect("git is there");
    assert!(git.status.success(), "{}\n{ran}", String::from_utf8_lossy(&git.stderr));
    let read = |path: &str| fs::read_to_string(copy.join(path)).unwrap_or_default();
    assert_eq!(read("notes.txt"), "notes\nmore\n");
    assert_eq!((read("new").as_str(), read("sub/file").as_str()), ("new\n", "no newline"));
    assert!(!copy.join("main.c").exists());
    assert_eq!(fs::read_link(copy.join("link")).expect("it was made"), Path::new("main.c"));
    Ok(())
}

fn renamed_and_replaced_directories_are_right() -> Promise {
    let dir = project();
    fs::create_dir_all(dir.join("tree/deep")).expect("the directory is ours");
    dir.file("tree/deep/old", "old");
    dir.file("tree/old", "old");
    let script = "mv sub moved && rm -r tree && mkdir -p tree/deep && echo new >tree/deep/new";
    let ran = here(&dir, &["--diff", "--apply"], script).exits(0);
    assert_eq!(
        ran.text(),
        "added     moved/\nadded     moved/file\ndeleted   sub/\nadded     tree/deep/new\n\
         deleted   tree/deep/old\ndeleted   tree/old"
    );
    let names: Vec<_> = snapshot(dir.path()).into_iter().map(|(path, ..)| path).collect();
    let names: Vec<_> =
        names.iter().filter_map(|path| Path::new(path).strip_prefix(dir.path()).ok()).collect();
    let expected = [
        "Makefile",
        "main.c",
        "moved",
        "moved/file",
        "notes.txt",
        "tree",
        "tree/deep",
        "tree/deep/new",
    ];
    assert_eq!(names, expected.map(Path::new));
    Ok(())
}

fn a_hard_link_on_the_host_keeps_its_other_name() -> Promise {
    let dir = project();
    fs::hard_link(dir.join("notes.txt"), dir.join("other")).expect("the directory is ours");
    let ran = here(&dir, &["--diff", "--apply"], "echo more >>notes.txt").exits(0);
    assert_eq!(ran.text(), "modified  notes.txt");
    let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
    assert_eq!((read("notes.txt").as_str(), read("other").as_str()), ("notes\nmore\n", "notes\n"));
    Ok(())
}

fn changes_are_limited() -> Promise {
    let dir = project();
    let script = "dd if=/dev/zero of=big bs=64k count=64 2>&1 | grep -o 'No space left'";
    assert_eq!(here(&dir, &["--workspace-size", "1M"], script).prints(), "No space left");
    let script = "for n in $(seq 200); do : >$n || exit 9; done 2>/dev/null";
    here(&dir, &["--inodes", "100"], script).exits(2);
    let ran = here(&dir, &[], "true");
    assert_eq!(ran.standing("disk"), "held");
    Ok(())
}

fn the_layers_cannot_be_seen() -> Promise {
    let dir = project();
    let script = "ls -d /.changes 2>/dev/null; grep -c ' - overlay ' /proc/self/mountinfo; \
        awk '{print $5}' /proc/self/mountinfo | grep changes; ls -A / | grep change; \
        ls -A /workspace | grep -v -e '^[a-zM]'; echo done";
    assert_eq!(here(&dir, &[], script).prints(), "1\ndone");
    let ran = here(&dir, &[], "cat /proc/self/mountinfo").exits(0);
    let mounts: Vec<_> = ran.text().lines().map(Mount::parse).collect();
    let shown: Vec<_> = mounts.iter().filter(|mount| mount.point == "/workspace").collect();
    assert!(!shown.is_empty(), "{ran}");
    assert!(shown.iter().all(|mount| mount.has("nosuid") && mount.has("nodev")), "{shown:?}");
    Ok(())
}

fn the_program_cannot_forge_a_layer() -> Promise {
    let python = python()?;
    let dir = project();
    let script = "
import os, stat
def attempt(what, do):
    try:
        do()
        print(what)
    except OSError:
        pass
attempt('made a whiteout', lambda: os.mknod('notes.txt.w', stat.S_IFCHR | 0o600, 0))
attempt('made a disk', lambda: os.mknod('block', stat.S_IFBLK | 0o600, os.makedev(8, 0)))
for name in ['opaque', 'redirect', 'metacopy', 'origin', 'whiteout']:
    attempt(name, lambda: os.setxattr('sub', 'user.overlay.' + name, b'y'))
print('tried', [name for name in os.listxattr('sub') if 'overlay' in name])
";
    let flags = ["--here", "--diff"];
    let ran = Fumehood::new(&flags, &[&python, "-c", script]).cwd(dir.path()).run();
    // Some kernels keep such attributes under another name, which has no meaning; what counts is
    // that the diff knows nothing of them.
    let text = ran.exits(0).text();
    assert!(text.contains("tried") && !text.contains("made"), "{text}");
    assert!(!text.contains("deleted") && !text.contains("added"), "{text}");
    Ok(())
}

fn what_must_not_come_to_the_host_is_refused() -> Promise {
    let dir = project();
    let script = "mkfifo pipe; ln -s /etc/passwd passwd; rm -r sub; ln -s / sub; \
        cp main.c suid; chmod 4755 suid; touch -- \"$(printf 'a\\nb\\377')\"; echo ok >ok";
    let ran = here(&dir, &["--apply"], script).exits(98);
    for name in ["pipe: is a FIFO", "passwd: is a link that leads out", "sub: is a link", "suid"] {
        assert!(ran.stderr.contains(name), "{name}\n{ran}");
    }
    assert_eq!(fs::read_to_string(dir.join("ok")).expect("it was applied"), "ok\n");
    assert!(dir.join("sub/file").is_file() && !dir.join("pipe").exists());
    assert!(dir.join("passwd").symlink_metadata().is_err());
    assert_eq!(fs::metadata(dir.join("suid")).expect("it was applied").mode() & 0o7777, 0o755);
    let odd = fs::read_dir(dir.path()).expect("it is there").flatten();
    let odd = odd.filter(|entry| entry.file_name().as_encoded_bytes() == b"a\nb\xff");
    assert_eq!(odd.count(), 1);
    Ok(())
}

fn a_killed_program_leaves_a_diff_too() -> Promise {
    let dir = project();
    let killed = |time| {
        let flags = ["--diff", "--timeout", &flag(time), "--grace", "50ms"];
        let script = "trap '' TERM; echo x >new; sleep 60 & sleep 60; sleep 60";
        Ok(here(&dir, &flags, script).exits(124))
    };
    let ran = given_time(killed, |ran| !ran.text().is_empty())?;
    assert_eq!(ran.text(), "added     new");
    Ok(())
}

fn two_mounts_are_told_apart() -> Promise {
    let (one, two) = (project(), project());
    let flags = ["--diff", "-v", &one.volume("/one", "cow"), "-v", &two.volume("/two", "cow")];
    let ran = run(&flags, &["sh", "-c", "rm /one/main.c; echo x >/two/new"]);
    assert_eq!(ran.prints(), "/one:\ndeleted   main.c\n/two:\nadded     new");
    Ok(())
}

fn a_mount_inside_is_not_lost_silently() -> Promise {
    host_tool("unshare")?;
    let dir = project();
    let below = dir.join("sub").display().to_string();
    let script = "mount -t tmpfs none \"$0\" && exec \"$@\"";
    let wrap = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    Fumehood::new(&["-v", &dir.volume("/data", "cow")], &["true"])
        .under(&["unshare", wrap, "sh", "-c", script, &below])
        .run()
        .exits(125)
        .complains("another file system mounted in it");
    Ok(())
}

fn a_file_cannot_be_copy_on_write() -> Promise {
    let dir = project();
    let volume = format!("{}/main.c:/data/main.c:cow", dir.path().display());
    run(&["-v", &volume], &["true"]).exits(125).complains("only directories can be copy-on-write");
    Ok(())
}

fn changes_of_root_s_run_belong_to_the_owner() -> Promise {
    needs_root("work in another user's directory")?;
    let dir = project();
    for path in ["", "sub", "notes.txt", "main.c"] {
        let path = dir.join(path);
        std::os::unix::fs::chown(path, Some(4242), Some(4242)).expect("we are root");
    }
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir.path(), closed).expect("we are root");
    symlink("nothing", dir.join("dangling")).expect("we are root");
    let script = "echo more >>notes.txt && mkdir new && echo x >new/x && echo x >sub/x";
    here(&dir, &["--apply"], script).exits(0);
    for path in ["notes.txt", "new", "new/x", "sub/x"] {
        let metadata = fs::metadata(dir.join(path)).expect("it was applied");
        assert_eq!((metadata.uid(), metadata.gid()), (4242, 4242), "{path}");
    }
    Ok(())
}

fn changes_are_kept_in_a_directory_and_a_later_run_continues_on_them() -> Promise {
    let dir = project();
    let before = snapshot(dir.path());
    let (_keeper, mount) = keeping(&dir);
    let ran =
        kept(&mount, &[], "echo more >>notes.txt; rm main.c; mkdir -m 000 new; chmod 0 sub/file");
    assert_eq!(ran.standing("disk"), "not-held", "{ran}");
    let first = "deleted   main.c\nadded     new/\nmodified  notes.txt\n\
        mode      sub/file (666 to 0)";
    assert_eq!(ran.text(), first, "{ran}");
    let script = "tail -n 1 notes.txt; ls main.c; stat -c %a new sub/file; rm -r sub";
    let ran = kept(&mount, &[], script);
    let second =
        "more\n0\n0\ndeleted   main.c\nadded     new/\nmodified  notes.txt\ndeleted   sub/";
    assert_eq!(ran.text(), second, "{ran}");
    assert_eq!(snapshot(dir.path()), before);
    Ok(())
}

fn what_was_applied_is_not_kept_any_longer() -> Promise {
    let dir = project();
    let (keeper, mount) = keeping(&dir);
    kept(&mount, &[], "echo more >>notes.txt; mkdir -p a/b; touch a/b/c; chmod 0 a/b").exits(0);
    assert_eq!(holds(&keeper), ["fumehood.json", "layer"]);
    kept(&mount, &["--apply"], "rm main.c").exits(0);
    assert!(dir.join("a/b").exists() && !dir.join("main.c").exists());
    assert_eq!(holds(&keeper), <[String; 0]>::default());
    let ran = kept(&mount, &["--apply"], "echo again >>notes.txt").exits(0);
    assert_eq!(ran.text(), "modified  notes.txt", "{ran}");
    let text = fs::read_to_string(dir.join("notes.txt")).expect("it is there");
    assert_eq!(text, "notes\nmore\nagain\n");
    Ok(())
}

fn what_was_changed_on_the_host_between_two_runs_is_refused() -> Promise {
    let dir = project();
    let (keeper, mount) = keeping(&dir);
    kept(&mount, &[], "echo mine >main.c; echo mine >new").exits(0);
    dir.file("main.c", "theirs");
    let ran = kept(&mount, &["--apply"], "true").exits(98);
    ran.complains("main.c: was changed on the host since the run began");
    assert_eq!(fs::read_to_string(dir.join("main.c")).expect("it is there"), "theirs");
    assert_eq!(fs::read_to_string(dir.join("new")).expect("it was applied"), "mine\n");
    assert_eq!(holds(&keeper), ["fumehood.json", "layer"], "what was refused is still there");
    Ok(())
}

fn a_directory_that_keeps_changes_is_nobody_else_s() -> Promise {
    let dir = project();
    let (_keeper, mount) = keeping(&dir);
    let flags = ["--mount", &mount];
    let script = "read line; exit 0";
    let first = Fumehood::new(&flags, &["sh", "-c", script, &marker()]).feed(Feed::Held).spawn();
    first.confined();
    kept(&mount, &[], "true").exits(125).complains("is in use by another run");
    first.finish().exits(0);
    kept(&mount, &[], "true").exits(0);
    Ok(())
}

fn a_directory_that_cannot_keep_changes_is_refused() -> Promise {
    let (dir, other) = (project(), project());
    let (keeper, mount) = keeping(&dir);
    kept(&mount, &[], "touch x").exits(0);
    let upper = keeper.path().display().to_string();
    let over = |source: &TempDir| {
        format!("source={},target=/workspace,cow,upper={upper}", source.path().display())
    };
    let refuses = |mount: &str, flags: &[&str], why: &str| {
        kept(mount, flags, "true").exits(125).complains(why);
    };
    refuses(&over(&other), &[], "keeps the changes to another directory");
    let shown = format!("{upper}:/data");
    refuses(&mount, &["-v", &shown], "can be seen inside");
    let twice = over(&other).replace("/workspace", "/data");
    refuses(&mount, &["--mount", &twice], "changes of two mounts");
    refuses(&mount.replace(",cow", ""), &[], "goes with access \"cow\" only");
    refuses(&format!("{mount}/none"), &[], "make it first");
    keeper.file("stray", "");
    refuses(&mount, &[], "holds stray");
    fs::remove_file(keeper.join("stray")).expect("it is ours");
    fs::set_permissions(keeper.path(), fs::Permissions::from_mode(0o750)).expect("it is ours");
    refuses(&mount, &[], "is open to others");
    fs::set_permissions(dir.join("sub"), fs::Permissions::from_mode(0o700)).expect("it is ours");
    fs::remove_file(dir.join("sub/file")).expect("it is ours");
    let inside = dir.join("sub").display().to_string();
    refuses(&mount.replace(&upper, &inside), &[], "lie in each other");
    Ok(())
}

fn an_image_can_hold_a_copy_on_write_mount() -> Promise {
    let (dir, images) = (project(), Images::new());
    let config = serde_json::json!({ "Env": ["PATH=/bin"] });
    images.import("box", &busybox(&[("srv/here", "")])?, &config);
    for target in ["/workspace", "/srv", "/made/for/it"] {
        let volume = dir.volume(target, "cow");
        let script = format!("cd {target} && cat notes.txt && rm notes.txt && echo 1 >new && ls");
        let ran = images.run("box", &["-v", &volume, "--diff"], &["sh", "-c", &script]);
        let said = "notes\nMakefile\nmain.c\nnew\nsub\nadded     new\ndeleted   notes.txt";
        let sorted =
            |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sorted(&ran.prints()), sorted(said), "{target}");
    }
    assert!(dir.join("notes.txt").exists() && !dir.join("new").exists());
    Ok(())
}
