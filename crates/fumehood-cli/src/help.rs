//! Texts at the end of help. A test runs every line that starts with a prompt, and holds it to the
//! exit status that it promises, which is 0 if it says nothing.

pub(crate) const EXAMPLES: &str = "\
Examples:
  $ fumehood run -- echo hello
  $ fumehood check
  $ fumehood run --help";

macro_rules! run_examples {
    () => {
        "\
Examples:
  $ fumehood run -- python3 -c 'print(6 * 7)'
  $ fumehood run --timeout 1s -- sleep 60              # exits 124
  $ fumehood run -v .:/src -w /src -- ls
  $ fumehood run --here --diff -- touch new            # lists it, and leaves nothing behind
  $ echo 1 2 3 | fumehood run -- wc -w
  $ fumehood run --report r.json -- sh -c 'exit 7'     # exits 7
  $ fumehood run --json -e GREETING=hi -- printenv GREETING
  $ echo '{\"args\": [\"id\", \"-u\"]}' | fumehood run --job -"
    };
}

pub(crate) const RUN_EXAMPLES: &str = run_examples!();

pub(crate) const RUN_NOTES: &str = concat!(
    run_examples!(),
    "

Sizes and times carry a unit: 256MiB or 256M, 1.5s or 500ms. Flags for what Docker has too have
Docker's names, but a volume is read-only unless it says rw.

Exit status: the program's own, or
  124  a time limit was reached          125  nothing ran, or its output was lost
  137  memory limit, or SIGKILL          126  the program cannot be executed
  153  limit of output or file size      127  the program was not found
  98   not all changes were applied
  128+n  ended by signal n               99   the host cannot hold a guarantee
A line on standard error says which, unless the program ended by itself; --report tells them apart
even where a program chooses one of these numbers.

Signals: INT, HUP, QUIT, USR1 and USR2 are passed on to the program. TERM, or a second INT, ends it:
it gets TERM, then, after the grace, KILL."
);

pub(crate) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  $ fumehood explain -- python3 main.py
  $ fumehood explain --json --network host -- true";

pub(crate) const IMAGE_EXAMPLES: &str = "\
Examples:
  $ fumehood image list
  docker save busybox | fumehood image import -
  fumehood run --image busybox -- sh -c 'echo hello'";

pub(crate) const EXPORT_EXAMPLES: &str = "\
Examples:
  $ fumehood export --list
  $ fumehood export . -o project.zip
  $ fumehood export . -o project.tar.gz --gitignore --json";

pub(crate) const POLICY_EXAMPLES: &str = "\
Examples:
  $ fumehood policy
  $ fumehood policy --json --network host";
