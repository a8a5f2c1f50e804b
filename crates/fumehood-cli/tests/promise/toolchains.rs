//! Real programs as jobs: what the host's toolchains need is there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Fumehood, Promise, Skip, TempDir, host_tool, promises, python, require_tools, skip,
};

promises![
    python_runs,
    python_starts_processes_and_threads,
    perl_runs,
    bash_runs,
    c_is_compiled_and_run,
    node_runs,
    java_is_compiled_and_run,
    go_is_compiled_and_run,
    rust_is_compiled_and_run,
    git_works,
    make_works,
];

/// Compilers may take long; they reserve address space and start threads by the dozen.
const ROOMY: [&str; 8] = [
    "--timeout",
    "180s",
    "--cpu-time",
    "unlimited",
    "--memory",
    "unlimited",
    "--pids-limit",
    "unlimited",
];

/// Runs a shell script confined, with files of a directory shown read-only at `/src`.
fn script(flags: &[&str], files: &[(&str, &str)], script: &str) -> String {
    let dir = TempDir::new();
    for (name, content) in files {
        dir.file(name, content);
    }
    let source = dir.volume("/src", "ro");
    let flags = [&ROOMY, &["--volume", &source][..], flags].concat();
    let patience = Duration::from_secs(200);
    Fumehood::new(&flags, &["sh", "-ec", script]).patience(patience).run().prints()
}

fn python_runs() -> Promise {
    let python = python()?;
    let code = "import json, sqlite3, ssl, hashlib, tempfile, socket; \
        f = tempfile.NamedTemporaryFile(); f.write(b'x'); \
        print(json.dumps([sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0]]))";
    assert_eq!(script(&[], &[("a.py", code)], &format!("{python} /src/a.py")), "[42]");
    Ok(())
}

fn python_starts_processes_and_threads() -> Promise {
    let python = python()?;
    let code = "import subprocess, threading\n\
        out = []\n\
        def work(n): out.append(int(subprocess.check_output(['sh', '-c', f'echo {n}'])))\n\
        ts = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]; print(sum(out))";
    assert_eq!(script(&[], &[("a.py", code)], &format!("{python} /src/a.py")), "28");
    Ok(())
}

fn perl_runs() -> Promise {
    let perl = host_tool("perl")?;
    let code = "use POSIX; my $pid = fork; if (!$pid) { exit 7 } waitpid $pid, 0; print $? >> 8";
    assert_eq!(script(&[], &[("a.pl", code)], &format!("{perl} /src/a.pl")), "7");
    Ok(())
}

fn bash_runs() -> Promise {
    let bash = host_tool("bash")?;
    let code = "a=($(seq 5)); while read -r n; do s=$((s + n)); done < <(printf '%s\\n' ${a[@]})
        cat <<<\"$s\"";
    assert_eq!(script(&[], &[("a.sh", code)], &format!("{bash} /src/a.sh")), "15");
    Ok(())
}

fn c_is_compiled_and_run() -> Promise {
    require_tools(&["gcc"])?;
    let code = "#include <math.h>\n#include <stdio.h>\n\
        int main(void) { printf(\"%d\\n\", (int)sqrt(1764.0)); }";
    let steps = "gcc -O2 -pipe -o a /src/a.c -lm && ./a && gcc -c -O2 -o b.o /src/a.c && ls b.o";
    assert_eq!(script(&[], &[("a.c", code)], steps), "42\nb.o");
    Ok(())
}

fn node_runs() -> Promise {
    let node = host_tool("node")?;
    let code = "const { Worker } = require('worker_threads');\n\
        const { execFileSync } = require('child_process');\n\
        const out = execFileSync('echo', ['40']).toString();\n\
        new Worker('require(\"worker_threads\").parentPort.postMessage(2)', { eval: true })\n\
        .on('message', n => console.log(Number(out) + n));";
    assert_eq!(script(&[], &[("a.js", code)], &format!("{node} /src/a.js")), "42");
    Ok(())
}

fn java_is_compiled_and_run() -> Promise {
    require_tools(&["java", "javac"])?;
    let code = "import java.util.stream.*; public class A { public static void main(String[] a) { \
        System.out.println(IntStream.rangeClosed(1, 8).parallel().sum() + 6); } }";
    let steps = "javac -d . /src/A.java && java -cp . A";
    assert_eq!(script(&[], &[("A.java", code)], steps), "42");
    Ok(())
}

fn go_is_compiled_and_run() -> Promise {
    let go = host_tool("go")?;
    let code = "package main\nimport \"fmt\"\nfunc main() { c := make(chan int); \
        go func() { c <- 42 }(); fmt.Println(<-c) }";
    let steps = format!(
        "export GOCACHE=/tmp/cache GOPATH=/tmp/go GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=0
         cp /src/a.go . && {go} build -p 2 -o a a.go && ./a"
    );
    assert_eq!(script(&[], &[("a.go", code)], &steps), "42");
    Ok(())
}

fn rust_is_compiled_and_run() -> Promise {
    require_tools(&["cc"])?;
    let sysroot = rust_sysroot()?;
    let volume = format!("{sysroot}:/opt/rust:ro");
    let code = "fn main() { let n = std::thread::spawn(|| 42).join().unwrap(); println!(\"{n}\") }";
    let steps = "/opt/rust/bin/rustc -o a /src/a.rs && ./a";
    assert_eq!(script(&["--volume", &volume], &[("a.rs", code)], steps), "42");
    Ok(())
}

/// A toolchain's own directory, not the shim of a version manager.
fn rust_sysroot() -> Result<String, Skip> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let Ok(output) = output else { return skip("rustc is not on this user's PATH") };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if sysroot.is_empty() || !Path::new(&sysroot).join("bin/rustc").exists() {
        return skip("this user cannot read the Rust toolchain");
    }
    Ok(sysroot)
}

fn git_works() -> Promise {
    require_tools(&["git"])?;
    let steps = "git init -q . && echo x >f && git add f && \
        git -c user.name=A -c user.email=a@b.c commit -qm first && \
        git clone -q . /tmp/copy && git -C /tmp/copy log --format=%s && git gc -q && git status -s";
    assert_eq!(script(&[], &[], steps), "first");
    Ok(())
}

fn make_works() -> Promise {
    require_tools(&["make"])?;
    let rules = "all: a b\n\t@cat a b\na b:\n\t@echo $@ > $@\n";
    assert_eq!(script(&[], &[("Makefile", rules)], "make -s -j4 -f /src/Makefile"), "a\nb");
    Ok(())
}
