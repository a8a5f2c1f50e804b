//! The transcripts in the pages on the service: every command is run, and says what it says there.

use std::path::Path;
use std::process::Command;

use crate::support::{Promise, Service, promises, skip};

promises! { the_documentation_says_what_happens, the_page_on_the_playground_says_what_happens }

/// A command, and what it prints.
#[derive(Debug)]
struct Exchange {
    command: String,
    output: String,
}

/// The blocks of kind `console`: lines that begin with `$ ` are commands, which indented lines go on
/// with; what follows is their output. `…` stands for any text.
fn exchanges(document: &str) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => {
                    found.push(Exchange { command: command.into(), output: String::new() });
                }
                (None, Some(last)) if line.starts_with("    ") => {
                    last.command += &format!("\n{line}");
                }
                (None, Some(last)) if last.output.is_empty() => line.clone_into(&mut last.output),
                (None, Some(last)) => last.output += &format!("\n{line}"),
                (None, None) => panic!("no command stands before {line:?}"),
            },
            _ => {}
        }
    }
    found
}

/// Whether a text is what a pattern with gaps says.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn the_documentation_says_what_happens() -> Promise {
    page_says_what_happens("service.md", 10)
}

fn the_page_on_the_playground_says_what_happens() -> Promise {
    page_says_what_happens("playground.md", 2)
}

/// Tries a page that has so many commands at least.
fn page_says_what_happens(page: &str, least: usize) -> Promise {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("there is no curl");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let Ok(document) = std::fs::read_to_string(&path) else {
        return skip(format!("{} cannot be read by this user", path.display()));
    };
    let exchanges = exchanges(&document);
    assert!(exchanges.len() >= least, "only {} commands were found", exchanges.len());
    // An ordinary user may have no control groups, and these pages are not about limits.
    let settings = "log = 'none'\n[playground]\nwaive = ['memory', 'cpu-time']";
    let service = Service::start(settings);
    let address = &service.addresses[0];
    for Exchange { command, output } in exchanges {
        let here = command.replace("localhost:8375", address);
        let ran = Command::new("sh").arg("-c").arg(&here).current_dir(service.dir()).output();
        let ran = ran.expect("there is a shell");
        let printed = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
        let printed = printed.trim_end().replace(address.as_str(), "localhost:8375");
        assert!(
            matches(&output, &printed),
            "$ {command}\nmust print\n{output}\nbut prints\n{printed}"
        );
    }
    Ok(())
}
