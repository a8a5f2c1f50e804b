use super::*;
use crate::{Sandbox, blocking};

const SPEC: &str = r#"{"workspaceRoot":"/w","outputDir":"/o","goRoot":"/g","goModCache":"/m",
    "maxAddressSpaceBytes":2147483648,"maxCPUSeconds":60,"maxFileSizeBytes":268435456,
    "maxOpenFiles":4096,"maxProcesses":256,"maxTmpfsBytes":1048576}"#;

#[test]
fn a_specification_is_read_and_written_as_it_was() {
    let spec = SandboxSpec::from_json(SPEC).unwrap();
    assert_eq!(spec.max_cpu_seconds, 60);
    assert_eq!(spec.to_json(), SPEC.split_whitespace().collect::<String>());
    assert!(SandboxSpec::from_json("1").is_err());
}

#[test]
fn g4_secrets_are_told_by_name() {
    assert!(secrets(["GOWDK_TOKEN", "PATH"]).contains("GOWDK_TOKEN"));
    assert!(secrets(ENVIRONMENT.map(|(name, _)| name)).is_empty());
}

#[test]
fn g6_memory_file_systems_have_the_size_of_the_specification() {
    let job = SandboxSpec::from_json(SPEC).unwrap().job(["true"], Duration::ZERO).unwrap();
    assert_eq!(job.tmpfs[0].size, Some(ByteSize::mib(1).into()));
    let unset = SandboxSpec { output_dir: "/o".into(), ..SandboxSpec::default() };
    let job = unset.job(["true"], Duration::ZERO).unwrap();
    assert_eq!((job.tmpfs[0].size, job.limits.tmp), (None, None));
}

#[test]
fn g13_an_output_directory_is_the_run_s_own() {
    let dir = tempfile::tempdir().unwrap();
    check_output(dir.path()).unwrap();
    check_output(&dir.path().join("absent")).unwrap();
    let said = check_output(Path::new("/")).unwrap_err().to_string();
    assert!(said.contains("root of the file system"), "{said}");
    fs::write(dir.path().join("file"), "").unwrap();
    let said = check_output(dir.path()).unwrap_err().to_string();
    assert!(said.contains("must be empty"), "{said}");
}

#[test]
fn g14_a_module_cache_is_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let said = module_cache(None, None).unwrap_err().to_string();
    assert!(said.contains("shared host module cache"), "{said}");
    assert_eq!(module_cache(Some(dir.path()), None).unwrap(), dir.path());
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(module_cache(Some(&dir.path().join("file")), None).is_err());
}

/// What is made for a build, and what became of it; none where this host cannot confine it.
struct Built {
    dir: tempfile::TempDir,
    report: crate::Report,
}

impl Built {
    /// The script of the probe, and then this.
    fn by(script: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["workspace", "out", "goroot", "cache"] {
            fs::create_dir(path(name)).unwrap();
            std::os::unix::fs::chown(path(name), Some(1500), Some(1500)).unwrap_or(());
        }
        fs::write(path("secret"), "secret").unwrap();
        let spec = SandboxSpec {
            workspace_root: path("workspace"),
            output_dir: path("out"),
            go_root: path("goroot"),
            go_mod_cache: path("cache"),
            ..SandboxSpec::default()
        };
        let script = script.replace("SECRET", &path("secret").display().to_string());
        let mut job = spec.job(["/bin/sh", "-c", &script], Duration::from_secs(20)).unwrap();
        job = job.env("PATH", "/goroot/bin:/usr/bin:/bin");
        match blocking::block_on(Sandbox::direct().run(&job)).unwrap() {
            Ok(report) => Some(Self { dir, report }),
            Err(error) => {
                assert!(is_unsupported(&error) && !error.to_string().is_empty(), "{error}");
                assert_eq!(exit_code(&Err(error)), UNSUPPORTED_EXIT_CODE);
                eprintln!("skipped: this host cannot confine it");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn g9_a_build_sees_nothing_of_the_host() {
    let script = "grep -c : /proc/net/dev; cat SECRET /etc/hostname 2>/dev/null; \
                  grep NoNewPrivs /proc/self/status; echo $GOPROXY $HOME; echo SANDBOX_OK";
    let Some(built) = Built::by(script) else { return };
    let text = String::from_utf8_lossy(&built.report.stdout.data);
    assert_eq!(text, "1\nsandbox\nNoNewPrivs:\t1\noff /tmp\nSANDBOX_OK\n", "{:?}", built.report);
}

#[test]
fn g10_what_a_build_writes_is_there_afterwards() {
    let script =
        "echo 1 >/workspace/w && echo 2 >/out/o && echo 3 >/gomodcache/m && echo 4 >/cache/c";
    let Some(built) = Built::by(script) else { return };
    let (workspace, out) = (built.path("workspace/w"), built.path("out/o"));
    assert_eq!(fs::read_to_string(workspace).unwrap(), "1\n", "{:?}", built.report);
    assert_eq!(fs::read_to_string(out).unwrap(), "2\n");
    assert!(!built.path("cache/m").exists(), "the module cache is copy-on-write");
    assert_eq!(exit_code(&Ok(built.report)), 0);
}
