//! How a program of each language is compiled and run: shell lines, and what they need.
//!
//! Everything is done inside the cell that the program itself gets, under the same limits, so a
//! compiler is trusted no more than what it compiles.

use std::time::Duration;

/// A language, whether or not the host has it.
#[derive(Debug)]
pub(super) struct Language {
    /// As in a link and as a profile's name.
    pub(super) name: &'static str,
    /// As people write it.
    pub(super) title: &'static str,
    /// What the file of the program is called, in the working directory.
    pub(super) file: &'static str,
    /// A program that prints `Hello` first. It is what people find in the editor, and by which we
    /// find out whether the language works.
    pub(super) hello: &'static str,
    /// Prints its version in the first line.
    pub(super) version: &'static str,
    /// How it is run, the best way first.
    pub(super) ways: &'static [Way],
    /// Whether it is compiled before it runs, so that [`REFUSED`] has a meaning.
    pub(super) compiled: bool,
}

/// A way to run a program.
#[derive(Debug)]
pub(super) struct Way {
    /// Succeeds where this way is worth a try.
    pub(super) needs: &'static str,
    /// Runs the program with the arguments that the shell got.
    pub(super) line: &'static str,
    /// CPU time, and half as much again on the wall, where the default does not suffice.
    pub(super) time: Option<Duration>,
}

/// The exit status that stands for a compiler's refusal. Programs have it by chance at most.
pub(super) const REFUSED: u8 = 222;

/// A way that is always worth a try, within the default limits.
const fn plainly(line: &'static str) -> [Way; 1] {
    [Way { needs: "true", line, time: None }]
}

/// Runs what was compiled. The C library would keep what is printed to a pipe until it has 4 KiB of
/// it; people want to see it line by line, and what was printed before a crash.
macro_rules! run_line_by_line {
    () => {
        "command -v stdbuf >/dev/null && exec stdbuf -oL /tmp/program \"$@\"; \
         exec /tmp/program \"$@\""
    };
}

/// Where Go is outside the usual path, in its own archive and in Debian's package; and nothing of the
/// network's.
macro_rules! go {
    ($rest:literal) => {
        concat!(
            "PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin\n",
            "golang() { GOCACHE=/tmp/cache GOPATH=/tmp/go GOTOOLCHAIN=local GOPROXY=off ",
            "CGO_ENABLED=0 GODEBUG=installgoroot=all go \"$@\"; }\n",
            $rest
        )
    };
}

/// Where Rust is outside the usual path in the images that its project offers.
macro_rules! rust {
    ($rest:literal) => {
        concat!(
            "PATH=$PATH:/usr/local/cargo/bin\n",
            "[ ! -d /usr/local/rustup ] || export RUSTUP_HOME=/usr/local/rustup\n",
            $rest
        )
    };
}

/// A collector that is made for small heaps, one compiler, and a heap that leaves room for the rest
/// in the default limit: by itself the machine would size it by the host's memory.
macro_rules! java {
    ($rest:literal) => {
        concat!(
            "small='-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx320m'\n",
            "compiler='-J-XX:+UseSerialGC -J-XX:TieredStopAtLevel=1 -J-Xmx320m'\n",
            $rest
        )
    };
}

macro_rules! hello {
    ($file:literal) => {
        include_str!(concat!("../../../page/hello/", $file))
    };
}

/// All languages, in the order in which they are offered.
pub(super) const ALL: [Language; 8] = [
    Language {
        name: "c",
        title: "C",
        file: "main.c",
        hello: hello!("main.c"),
        version: "cc --version",
        ways: &plainly(concat!(
            "cc -O1 -g -Wall -Wextra -o /tmp/program main.c -lm || exit 222\n",
            run_line_by_line!()
        )),
        compiled: true,
    },
    Language {
        name: "cpp",
        title: "C++",
        file: "main.cpp",
        hello: hello!("main.cpp"),
        version: "c++ --version",
        ways: &plainly(concat!(
            "c++ -std=c++20 -O1 -g -Wall -Wextra -o /tmp/program main.cpp || exit 222\n",
            run_line_by_line!()
        )),
        compiled: true,
    },
    Language {
        name: "rust",
        title: "Rust",
        file: "main.rs",
        hello: hello!("main.rs"),
        version: rust!("rustc --version"),
        ways: &plainly(rust!(
            "rustc --edition=2021 -g -o /tmp/program main.rs || exit 222\nexec /tmp/program \"$@\""
        )),
        compiled: true,
    },
    Language {
        name: "go",
        title: "Go",
        file: "main.go",
        hello: hello!("main.go"),
        version: go!("golang version"),
        // Since version 1.20 Go comes without its library compiled. Where somebody has compiled it,
        // a program is built in half a second; else the library is, too, which takes ten.
        ways: &[
            Way {
                needs: go!("ls -d \"$(golang env GOROOT)\"/pkg/linux_*/fmt.a"),
                line: go!(
                    "golang build -o /tmp/program main.go || exit 222\nexec /tmp/program \"$@\""
                ),
                time: None,
            },
            Way {
                needs: "true",
                line: go!("golang build -gcflags=all=-l -o /tmp/program main.go || exit 222\n\
                     exec /tmp/program \"$@\""),
                time: Some(Duration::from_secs(40)),
            },
        ],
        compiled: true,
    },
    Language {
        name: "python",
        title: "Python",
        file: "main.py",
        hello: hello!("main.py"),
        version: "python3 --version",
        // Line by line as well; its own flag would write a line and its end apart, and what the
        // other stream prints would come between them.
        ways: &plainly(
            "mkdir /tmp/line-by-line; PYTHONPATH=/tmp/line-by-line; export PYTHONPATH\n\
             echo 'import sys; sys.stdout and sys.stdout.reconfigure(line_buffering=True)' \
             >$PYTHONPATH/sitecustomize.py\n\
             exec python3 main.py \"$@\"",
        ),
        compiled: false,
    },
    Language {
        name: "javascript",
        title: "JavaScript",
        file: "main.js",
        hello: hello!("main.js"),
        version: "echo \"Node.js $(node --version)\"",
        // It would size its heap by the host's memory.
        ways: &plainly("exec node --max-old-space-size=320 main.js \"$@\""),
        compiled: false,
    },
    Language {
        name: "java",
        title: "Java",
        file: "Main.java",
        hello: hello!("Main.java"),
        version: "javac -version",
        ways: &plainly(java!(
            "javac $compiler -d /tmp/program Main.java || exit 222\n\
             exec java $small -cp /tmp/program Main \"$@\""
        )),
        compiled: true,
    },
    Language {
        name: "bash",
        title: "Bash",
        file: "main.sh",
        hello: hello!("main.sh"),
        version: "bash -c 'echo Bash $BASH_VERSION'",
        ways: &plainly("exec bash main.sh \"$@\""),
        compiled: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_as_it_is_read() {
        for language in &ALL {
            let refusal = format!("|| exit {REFUSED}\n");
            for way in language.ways {
                assert_eq!(way.line.contains(&refusal), language.compiled, "{}", language.name);
                assert!(way.line.ends_with("\"$@\""), "{} gets its arguments", language.name);
            }
        }
    }

    #[test]
    fn greetings_greet_to_both_streams() {
        for language in &ALL {
            let text = language.hello;
            assert!(text.contains(&format!("Hello from {}.", language.title)), "{text}");
            assert!(text.contains("standard error"), "{text}");
        }
    }
}
