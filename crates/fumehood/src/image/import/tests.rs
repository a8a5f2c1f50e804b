use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;
use tempfile::TempDir;

use super::testing::{Made, Tar, gzip, image, zstd};
use super::*;

struct Fixture {
    dir: TempDir,
    store: Store,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store"));
    Fixture { dir, store }
}

impl Fixture {
    fn import_with(&self, archive: &[u8], options: &ImportOptions) -> Result<Vec<Imported>> {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, archive).unwrap();
        self.store.import(&path, options)
    }

    fn import(&self, archive: &[u8]) -> Result<Vec<Imported>> {
        self.import_with(archive, &ImportOptions::default())
    }

    /// Imports layers as an image, and returns its root.
    fn layers(&self, layers: &[Vec<u8>]) -> Result<PathBuf> {
        let imported = self.import(&image(layers, &json!({})).docker("test:1"))?;
        Ok(imported[0].image.root.clone())
    }

    /// What is in the store that could be taken for an image, or left by an import.
    fn leftovers(&self) -> usize {
        let count = |name: &str| {
            fs::read_dir(self.dir.path().join("store").join(name)).map_or(0, Iterator::count)
        };
        count("trees") + count("staging") + count("names")
    }
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap()
}

/// All names below a directory but those that every image has.
fn list(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            }
            names.push(name);
        }
    }
    names.retain(|name| name != "etc" && !COVERED.contains(&name.as_str()));
    names.sort();
    names
}

#[test]
fn an_image_of_docker_is_imported_listed_and_removed() {
    let fixture = fixture();
    let section = json!({
        "Entrypoint": ["/bin/app"], "Cmd": ["-v"], "Env": ["PATH=/bin", "EMPTY="],
        "WorkingDir": "/srv/app", "User": "app",
    });
    let layer = Tar::default()
        .dir("etc/")
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:100:101::/:/bin/sh\n")
        .file("bin/app", "program")
        .end();
    let archive = image(&[layer], &section).docker("app:1.0");
    let imported = fixture.import(&archive).unwrap().remove(0);
    assert!(!imported.was_there);
    let found = fixture.store.find("app:1.0").unwrap();
    assert_eq!(found, imported.image);
    assert_eq!(found.config.entrypoint, ["/bin/app"]);
    assert_eq!(found.config.cmd, ["-v"]);
    assert_eq!(found.config.env, [("PATH".into(), "/bin".into()), ("EMPTY".into(), String::new())]);
    assert_eq!(found.config.workdir.as_deref(), Some("/srv/app"));
    let user = found.config.user.clone().unwrap();
    assert_eq!((user.uid, user.gid), (100, 101));
    assert_eq!(read(&found.root, "bin/app"), "program");
    assert!(found.root.join("srv/app").is_dir(), "its directory was made");
    assert!(found.root.join("etc/hosts").is_file(), "it can be covered");
    assert!(fixture.import(&archive).unwrap()[0].was_there);
    assert_eq!(fixture.store.list().unwrap(), std::slice::from_ref(&found));
    assert_eq!(fixture.store.find(&found.digest[..14]).unwrap(), found);
    fixture.store.remove("app:1.0").unwrap();
    assert_eq!(fixture.leftovers(), 0);
    assert!(fixture.store.find("app:1.0").is_err());
}

/// Three layers, the last as the first.
fn repeating() -> Made {
    let one = Tar::default().file("a", "one").end();
    let two = Tar::default().file("a", "two").file("b", "two").end();
    image(&[one.clone(), two, one], &json!({}))
}

#[test]
fn a_layer_that_an_archive_has_twice_as_a_link_is_laid_twice() {
    let fixture = fixture();
    let imported = fixture.import(&repeating().docker_with_links("twice:1")).unwrap();
    let root = &imported[0].image.root;
    assert_eq!((read(root, "a").as_str(), read(root, "b").as_str()), ("one", "two"));
}

#[test]
fn an_archive_with_both_manifests_holds_one_image_with_one_name() {
    let fixture = fixture();
    let imported = fixture.import(&repeating().docker_and_oci(Some("both:1"))).unwrap();
    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].image.names, ["both:1"]);
    assert_eq!(read(&imported[0].image.root, "a"), "one");
    fixture.store.find("docker.io/library/both:1").unwrap();
}

#[test]
fn a_digest_is_not_taken_for_a_name() {
    let fixture = fixture();
    let imported = fixture.import(&repeating().docker_and_oci(None)).unwrap();
    assert_eq!(imported[0].image.names, [""; 0]);
    fixture.store.find(&imported[0].image.digest).unwrap();
}

#[test]
fn an_image_of_podmans_own_is_found_and_removed_by_its_short_name() {
    let fixture = fixture();
    fixture.import(&repeating().docker("localhost/app:1")).unwrap();
    assert_eq!(fixture.store.find("app:1").unwrap().names, ["localhost/app:1"]);
    fixture.import(&repeating().docker("other:1")).unwrap();
    assert_eq!(fixture.store.remove("app:1").unwrap().names, ["other:1"]);
    assert!(fixture.store.find("app:1").is_err());
}

#[test]
fn an_oci_layout_is_imported_whatever_its_layers_are_compressed_with() {
    let layers = [Tar::default().file("a", &"a".repeat(100_000)).end()];
    let made = image(&layers, &json!(null));
    for compress in [<[u8]>::to_vec, gzip, zstd] {
        let fixture = fixture();
        let imported = fixture.import(&made.oci("a:b", compress)).unwrap().remove(0);
        assert_eq!(imported.image.names, ["a:b"]);
        assert_eq!(imported.image.digest, stream::digest(&made.config));
        assert_eq!(read(&imported.image.root, "a").len(), 100_000);
    }
}

#[test]
fn the_archive_itself_can_be_compressed() {
    let archive = image(&[Tar::default().file("a", "x").end()], &json!({})).docker("a:b");
    for compress in [gzip, zstd] {
        let fixture = fixture();
        let image = &fixture.import(&compress(&archive)).unwrap()[0].image;
        assert_eq!(read(&image.root, "a"), "x");
        assert_eq!(fixture.leftovers(), 2);
    }
}

#[test]
fn layers_take_away_what_is_below_and_nothing_of_their_own() {
    let fixture = fixture();
    let lower = Tar::default()
        .file("a/gone", "")
        .file("a/kept", "lower")
        .file("b/x/deep", "")
        .file("b/y", "")
        .file("c", "a file")
        .file("d/e", "a directory")
        .end();
    let upper = Tar::default()
        .file("b/x/own", "")
        .file("a/.wh.gone", "")
        .file("b/.wh..wh..opq", "")
        .file("b/late", "")
        .dir("c/")
        .file("c/in", "")
        .file("d", "a file now")
        .file(".wh.never-was", "")
        .end();
    let root = fixture.layers(&[lower, upper]).unwrap();
    assert_eq!(list(&root), ["a", "a/kept", "b", "b/late", "b/x", "b/x/own", "c", "c/in", "d"]);
}

#[test]
fn a_whiteout_spares_what_its_own_layer_has_of_that_name() {
    let fixture = fixture();
    let lower = Tar::default().file("a/lower", "").file("f", "lower").end();
    let upper =
        Tar::default().file("a/own", "").file(".wh.a", "").file("f", "own").file(".wh.f", "").end();
    let root = fixture.layers(&[lower, upper]).unwrap();
    assert_eq!(list(&root), ["a", "a/own", "f"]);
    assert_eq!(read(&root, "f"), "own");
}

#[test]
fn a_directory_behind_a_link_of_a_layer_below_is_the_one_meant() {
    let fixture = fixture();
    let lower = Tar::default().dir("in/lib/").link("lib", "/in/lib").file("in/lib/old", "").end();
    let upper = Tar::default().file("lib/new", "x").file("lib/.wh.old", "").end();
    let root = fixture.layers(&[lower, upper]).unwrap();
    assert_eq!(list(&root), ["in", "in/lib", "in/lib/new", "lib"]);
}

/// Some builders write no directories.
#[test]
fn what_is_missing_behind_a_link_of_a_layer_below_is_made_there() {
    let fixture = fixture();
    let lower = Tar::default().dir("in/lib/").link("lib", "/in/lib").end();
    let upper = Tar::default().file("lib/a/b/new", "x").file("lib/a/c/.wh.old", "").end();
    let section = json!({ "WorkingDir": "/lib/work/here" });
    let imported = fixture.import(&image(&[lower, upper], &section).docker("test:1")).unwrap();
    let all = list(&imported[0].image.root);
    let made = ["in/lib/a", "in/lib/a/b", "in/lib/a/b/new", "in/lib/a/c"];
    let work = ["in/lib/work", "in/lib/work/here", "lib"];
    assert_eq!(all, [&["in", "in/lib"][..], &made, &work].concat());
}

#[test]
fn nothing_leads_out_of_the_image() {
    let victim = tempfile::tempdir().unwrap();
    fs::write(victim.path().join("file"), "untouched").unwrap();
    let outside = victim.path().to_str().unwrap();
    let inside = outside.trim_start_matches('/');
    let tricks = [
        ("a link to a directory outside", Tar::default().link("l", outside).file("l/file", "evil")),
        (
            "a link up",
            Tar::default().link("l", "../../../../../..").file(&format!("l/{inside}/f"), "x"),
        ),
        (
            "a link, then a link of a link",
            Tar::default().link("a", outside).link("b", "a").file("b/file", "evil"),
        ),
        ("a whiteout through a link", Tar::default().link("l", outside).file("l/.wh.file", "")),
        ("an opaque link", Tar::default().link("l", outside).file("l/.wh..wh..opq", "")),
        (
            "a file over a link",
            Tar::default().link("l", &format!("{outside}/file")).file("l", "evil"),
        ),
        (
            "a hard link through a link",
            Tar::default().link("l", outside).entry(b'1', "h", "l/file", 0o644, b""),
        ),
        (
            "a directory over a link",
            Tar::default().link("l", outside).dir("l/").file("l/file", "evil"),
        ),
        (
            "a mode through a link",
            Tar::default().link("l", outside).entry(b'5', "l", "", 0o000, b""),
        ),
    ];
    for (what, tar) in tricks {
        let fixture = fixture();
        let before = fs::metadata(victim.path()).unwrap().mode();
        // Whether it is refused or leads to something in the image is all the same.
        let _ = fixture.layers(&[tar.end()]);
        assert_eq!(read(victim.path(), "file"), "untouched", "{what}");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1, "{what}");
        assert_eq!(fs::metadata(victim.path()).unwrap().mode(), before, "{what}");
    }
}

#[test]
fn what_is_wrong_with_a_layer_is_refused_with_the_name_of_the_entry() {
    let long = "n".repeat(5000);
    let pax = |record: &str| {
        let length = record.len() + 4;
        format!("{length} {record}\n").into_bytes()
    };
    let tricks = [
        (Tar::default().file("../up", ""), "\"../up\": has .. in its path"),
        (Tar::default().file("a/../../up", ""), "has .. in its path"),
        (Tar::default().entry(b'1', "h", "../../etc/passwd", 0o644, b""), "has .. in its path"),
        (Tar::default().entry(b'1', "h", "nowhere", 0o644, b""), "not there"),
        (Tar::default().dir("d/").entry(b'1', "h", "d", 0o644, b""), "no file"),
        (Tar::default().file(".wh.", ""), "without a name"),
        (Tar::default().file(".wh...", ""), "without a name"),
        (Tar::default().entry(b'S', "s", "", 0o644, b""), "sparse"),
        (Tar::default().entry(b'Z', "z", "", 0o644, b""), "unknown type"),
        (Tar::default().entry(b'L', "x", "", 0o644, long.as_bytes()).file("a", ""), "too long"),
        (
            Tar::default().entry(b'x', "x", "", 0o644, &pax("size=9")).file("a", "12"),
            "two different sizes",
        ),
        (
            Tar::default().entry(b'g', "x", "", 0o644, &pax("path=../up")).file("a", ""),
            "global records",
        ),
        (
            Tar::default().entry(b'x', "x", "", 0o644, &pax("path=../up")).file("a", ""),
            "has .. in its path",
        ),
        (
            Tar::default()
                .entry(b'L', "x", "", 0o644, b"one")
                .entry(b'L', "x", "", 0o644, b"two")
                .file("a", ""),
            "twice",
        ),
        (Tar::default().link("a", "a").file("a/b", ""), "a/b"),
    ];
    for (tar, problem) in tricks {
        let fixture = fixture();
        let said = fixture.layers(&[tar.end()]).unwrap_err().to_string();
        assert!(
            said.contains("layer 0/layer.tar: ") && said.contains(problem),
            "{problem}: {said}"
        );
        assert_eq!(fixture.leftovers(), 0, "{problem}");
    }
}

#[test]
fn nothing_that_gives_privileges_is_made() {
    let fixture = fixture();
    let layer = Tar::default()
        .entry(b'0', "su", "", 0o6755, b"program")
        .entry(b'0', "closed", "", 0o600, b"")
        .entry(b'0', "open", "", 0o666, b"")
        .entry(b'5', "locked", "", 0o1000, b"")
        .file("locked/file", "")
        .entry(b'3', "device", "", 0o666, b"")
        .entry(b'4', "block", "", 0o666, b"")
        .entry(b'6', "fifo", "", 0o666, b"")
        .end();
    let root = fixture.layers(&[layer]).unwrap();
    assert_eq!(list(&root), ["closed", "locked", "locked/file", "open", "su"]);
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("su"), 0o755);
    assert_eq!(mode("closed"), 0o644, "what its owner may read, everybody may");
    assert_eq!(mode("open"), 0o644, "nobody else writes");
    assert_eq!(mode("locked"), 0o700, "it can be removed");
    assert_eq!(fs::metadata(root.join("su")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn every_digest_is_held() {
    let layer = Tar::default().file("a", "honest").end();
    let other = Tar::default().file("a", "forged").end();
    let made = image(std::slice::from_ref(&layer), &json!({}));
    let swap = |archive: Vec<u8>, from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let at = archive.windows(from.len()).position(|window| window == from).unwrap();
        [&archive[..at], to, &archive[at + from.len()..]].concat()
    };
    let refused = |archive: Vec<u8>, problem: &str| {
        let fixture = fixture();
        let said = fixture.import(&archive).unwrap_err().to_string();
        assert!(said.contains(problem), "{problem}: {said}");
        assert_eq!(fixture.leftovers(), 0);
    };
    refused(swap(made.docker("a:b"), &layer, &other), "unpacks to other bytes");
    refused(
        swap(made.oci("a:b", <[u8]>::to_vec), &layer, &other),
        "has other bytes than its digest",
    );
    let forged = swap(made.config.clone(), b"linux", b"LINUX");
    refused(swap(made.docker("a:b"), &made.config, &forged), "configuration with other bytes");
    let tag = swap(made.oci("tag", <[u8]>::to_vec), b"\"layers\":", b"\"LAYERS\":");
    refused(tag, "has other bytes than sha256:");
}

#[test]
fn limits_end_an_import() {
    let many = (0..50).fold(Tar::default(), |tar, n| tar.file(&n.to_string(), "")).end();
    let bomb = Tar::default().file("zeros", &"\0".repeat(4 << 20)).end();
    let small = image(&[many], &json!({})).docker("a:b");
    let bomb = image(&[bomb], &json!({})).oci("a:b", gzip);
    let refused = |archive: &[u8], change: fn(&mut ImportLimits), problem: &str| {
        let fixture = fixture();
        let mut options = ImportOptions::default();
        change(&mut options.limits);
        let said = fixture.import_with(archive, &options).unwrap_err().to_string();
        assert!(said.contains(problem), "{problem}: {said}");
        assert_eq!(fixture.leftovers(), 0);
    };
    refused(&small, |limits| limits.entries = 49, "\"49\": is one entry more than the limit");
    refused(&small, |limits| limits.size = ByteSize(1000), "more bytes than the limits");
    refused(
        &bomb,
        |limits| (limits.ratio, limits.free_of_ratio) = (10, ByteSize::mib(1)),
        "more bytes than the limits",
    );
    let mut options = ImportOptions::default();
    options.limits.entries = 50;
    fixture().import_with(&small, &options).unwrap();
}

#[test]
fn what_is_no_image_is_refused() {
    let foreign = {
        let mut made = image(&[], &json!({}));
        let text = String::from_utf8(made.config.clone()).unwrap();
        made.config = text.replace(manifest::architecture(), "s390x").into_bytes();
        made.docker("a:b")
    };
    let less = {
        let mut made = image(&[Tar::default().end()], &json!({}));
        made.layers.clear();
        made.docker("a:b")
    };
    for (archive, problem) in [
        (b"not a tar at all".to_vec(), "image "),
        (Tar::default().file("a", "").end(), "holds no image for linux/"),
        (Tar::default().file("manifest.json", "[{}]").end(), "manifest.json that is wrong"),
        (foreign, "is for linux/s390x"),
        (less, "has 0 layers, but digests of 1"),
        (image(&[], &json!({ "User": "ghost" })).docker("a:b"), "\"ghost\" is not in its"),
        (image(&[], &json!({ "Env": ["=x"] })).docker("a:b"), "impossible variable"),
        (
            image(&[], &json!({})).docker("a\u{1b}[31m\nb:c"),
            r#"the name "a\u{1b}[31m\nb:c", which must be made of"#,
        ),
        (image(&[], &json!({})).docker(""), r#"the name "", which must be"#),
        (image(&[], &json!({})).docker(&"a/".repeat(90)), "which is too long"),
        (
            image(&[Tar::default().link("etc", "/nowhere").end()], &json!({})).docker("a:b"),
            r#""etc/group": Not a directory"#,
        ),
        (
            image(&[Tar::default().file("f", "").end()], &json!({ "WorkingDir": "/f/x" }))
                .docker("a:b"),
            r#"its working directory "/f/x": Not a directory"#,
        ),
    ] {
        let fixture = fixture();
        let said = fixture.import(&archive).unwrap_err().to_string();
        assert!(said.contains(problem), "{problem}: {said}");
        assert_eq!(fixture.leftovers(), 0, "{problem}");
    }
}

#[test]
fn what_a_killed_import_left_is_never_an_image_and_goes_away() {
    let fixture = fixture();
    let staging = fixture.dir.path().join("store/staging/import-1-0");
    fs::create_dir_all(staging.join("root/bin")).unwrap();
    assert_eq!(fixture.store.list().unwrap(), []);
    let held = lock(&staging).unwrap().unwrap();
    fixture.layers(&[Tar::default().end()]).unwrap();
    assert!(staging.exists(), "somebody is at work there");
    drop(held);
    fixture.layers(&[Tar::default().file("a", "").end()]).unwrap();
    assert!(!staging.exists());
}

#[test]
fn a_name_that_moves_on_leaves_the_older_image_by_its_digest() {
    let fixture = fixture();
    let image_of = |text| image(&[Tar::default().file("a", text).end()], &json!({})).docker("a:b");
    let first = fixture.import(&image_of("1")).unwrap().remove(0).image;
    let second = fixture.import(&image_of("2")).unwrap().remove(0).image;
    assert_eq!(fixture.store.find("a:b").unwrap().digest, second.digest);
    assert_eq!(fixture.store.find(&first.digest).unwrap().names, Vec::<String>::new());
    let options = ImportOptions { name: Some("other".into()), ..ImportOptions::default() };
    fixture.import_with(&image_of("2"), &options).unwrap();
    assert_eq!(fixture.store.find("other").unwrap().names, ["a:b", "other:latest"]);
    fixture.store.remove("other").unwrap();
    assert_eq!(fixture.store.find("a:b").unwrap().names, ["a:b"]);
}

#[test]
fn a_name_that_is_none_is_refused_whatever_the_archive_is() {
    let fixture = fixture();
    for (name, problem) in [("a b", "must be made of"), ("", "must be"), (&"a/".repeat(90), "long")]
    {
        let options = ImportOptions { name: Some(name.into()), ..ImportOptions::default() };
        let archive = image(&[], &json!({})).docker("a:b");
        let error = fixture.import_with(&archive, &options).unwrap_err().to_string();
        assert!(error.contains(&format!("name: {name:?}: ")) && error.contains(problem), "{error}");
    }
}
