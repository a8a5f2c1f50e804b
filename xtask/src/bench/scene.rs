//! What has to be there before anything is measured, and who measures.

use std::path::Path;
use std::process::{Command, Stdio};

use super::oci;
use crate::user::{Stage, is_root};

/// The source of the program that is run.
pub(super) const PAYLOAD: &str = "int main(void) { return 0; }\n";

/// As whom everything is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Root,
    Unprivileged,
}

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Unprivileged => "an unprivileged user",
        }
    }
}

/// A directory with the payload and everything that starts it.
#[derive(Debug)]
pub(super) struct Scene {
    stage: Stage,
    /// How the payload was made.
    pub(super) payload: &'static str,
}

impl Scene {
    pub(super) fn set(binary: &Path, harness: &Path) -> Result<Self, String> {
        let stage = Stage::new()?;
        stage.copy(binary, "fumehood")?;
        stage.copy(harness, "launch")?;
        let payload = payload(&stage)?;
        println!("payload: {payload}");
        let built = stage.path().join("payload/true");
        oci::bundles(stage.path(), &built).map_err(|error| format!("bundles: {error}"))?;
        Ok(Self { stage, payload })
    }

    pub(super) fn dir(&self) -> String {
        self.stage.path().display().to_string()
    }

    /// Where whoever measures may write.
    pub(super) fn home(&self) -> std::path::PathBuf {
        self.stage.home()
    }

    /// A command of the one who measures.
    pub(super) fn command(&self, who: Who, argv: &[String]) -> Command {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null());
        if who == Who::Unprivileged && is_root() {
            self.stage.drop_privileges(&mut command);
        }
        command
    }
}

/// A program that does nothing. With musl, because the start-up of the other C library can cost
/// more than everything that is measured here.
fn payload(stage: &Stage) -> Result<&'static str, String> {
    let dir = stage.path().join("payload");
    let source = dir.join("true.c");
    std::fs::create_dir(&dir)
        .and_then(|()| std::fs::write(&source, PAYLOAD))
        .map_err(|error| format!("{}: {error}", source.display()))?;
    let compile = |compiler: &str| {
        let mut command = Command::new(compiler);
        command.args(["-O2", "-static", "-s", "-o"]).arg(dir.join("true")).arg(&source);
        command.status().is_ok_and(|status| status.success())
    };
    if compile("musl-gcc") {
        return Ok("int main(void) { return 0; }, static, musl");
    }
    println!("no musl-gcc (package musl-tools): the payload's own start-up is in every figure");
    if compile("cc") {
        Ok("int main(void) { return 0; }, static, not musl: its own start-up is in every figure")
    } else {
        Err("no C compiler for the payload".into())
    }
}
