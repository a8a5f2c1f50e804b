//! Mounts, whose paths may hold any byte but NUL.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fumehood::{Access, ByteSize, Error, Job, Limit, Mount, Result, Tmpfs};

use super::{on_host, unit};
use crate::args::InsideArgs;

/// Adds the mounts of the command line to those of the job.
pub(super) fn mounts(args: &InsideArgs, job: &mut Job) -> Result<()> {
    if args.here {
        let here = std::env::current_dir().map_err(|error| {
            Error::invalid("--here", ".", format!("the current directory is not there: {error}"))
        })?;
        let mount = Mount::new(here, Job::CWD);
        job.mounts.push(Mount { access: Access::CopyOnWrite, ..mount });
    }
    for volume in &args.volume {
        job.mounts.push(read_volume(volume)?);
    }
    for mount in &args.mount {
        job.mounts.push(read_mount(mount)?);
    }
    for tmpfs in &args.tmpfs {
        job.tmpfs.push(read_tmpfs(tmpfs)?);
    }
    Ok(())
}

/// Text for an error: the argument as it was given, as far as it is text.
fn shown(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Reads `SOURCE:TARGET[:ro|rw|cow]`.
fn read_volume(text: &OsStr) -> Result<Mount> {
    let refused = |problem| Err(Error::invalid("--volume", shown(text), problem));
    let parts: Vec<_> = text.as_bytes().split(|&byte| byte == b':').collect();
    let (source, target, access) = match *parts.as_slice() {
        [source, target] | [source, target, b"ro"] => (source, target, Access::ReadOnly),
        [source, target, b"rw"] => (source, target, Access::ReadWrite),
        [source, target, b"cow"] => (source, target, Access::CopyOnWrite),
        [_] => return refused("has no target; write SOURCE:TARGET, such as ./data:/data"),
        [_, _, _] => return refused("must end with :ro, :rw, :cow or the target"),
        _ => {
            return refused(
                "has too many colons; paths with colons can be given with \
                 --mount type=bind,source=…,target=…",
            );
        }
    };
    if source.is_empty() || target.is_empty() {
        return refused("has an empty path; write SOURCE:TARGET, such as ./data:/data");
    }
    let source = on_host("--volume", path(source))?;
    let mut mount = Mount::new(source, path(target));
    mount.access = access;
    Ok(mount)
}

/// Reads `type=bind,source=PATH,target=PATH[,readonly[=BOOL]][,cow[=BOOL]][,optional[=BOOL]]
/// [,as-owner[=BOOL]][,upper=PATH]`.
fn read_mount(text: &OsStr) -> Result<Mount> {
    let refused = |problem: String| Error::invalid("--mount", shown(text), problem);
    let (mut source, mut target) = (None, None);
    let (mut readonly, mut cow) = (None, false);
    let mut mount = Mount::new("", "");
    let mut given = BTreeSet::new();
    for field in fields(text.as_bytes()).map_err(|problem| refused(problem.to_owned()))? {
        let mut halves = field.splitn(2, |&byte| byte == b'=');
        let (key, value) = (halves.next().unwrap_or_default(), halves.next());
        let key = String::from_utf8_lossy(key).into_owned();
        let value = value.unwrap_or(b"true");
        let truth = || truth(value).ok_or_else(|| refused(format!("{key} must be true or false")));
        let name = one_name(&key);
        match name {
            "type" if value == b"bind" => {}
            "type" => return Err(refused("type must be bind; for tmpfs there is --tmpfs".into())),
            "source" => source = Some(on_host("--mount", path(value))?),
            "target" => target = Some(path(value).to_owned()),
            "readonly" => readonly = Some(truth()?),
            "cow" => cow = truth()?,
            "optional" => mount.optional = truth()?,
            "as-owner" => mount.as_owner = truth()?,
            "upper" => mount.upper = Some(on_host("--mount", path(value))?),
            _ => {
                let known = "type, source, target, readonly, cow, upper, optional, as-owner";
                return Err(refused(format!("unknown field {key:?}; there are {known}")));
            }
        }
        // Of two values one would win silently.
        if !given.insert(name.to_owned()) {
            return Err(refused(format!("{name} is given twice; leave one out")));
        }
    }
    let lacks = |name: &str| refused(format!("has no {name}; write {name}=PATH"));
    mount.source = source.ok_or_else(|| lacks("source"))?;
    mount.target = target.ok_or_else(|| lacks("target"))?;
    mount.access = access(readonly, cow).map_err(|problem| refused(problem.to_owned()))?;
    Ok(mount)
}

/// The name of a field that has several.
fn one_name(key: &str) -> &str {
    match key {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        name => name,
    }
}

/// What a program may do: whoever says both cow and readonly might mean either, and must not find
/// that the other was meant.
const fn access(readonly: Option<bool>, cow: bool) -> Result<Access, &'static str> {
    match (cow, readonly) {
        (true, None) => Ok(Access::CopyOnWrite),
        (true, Some(_)) => Err("has both cow and readonly, of which only one can hold: with cow \
                                the program writes to a copy, with readonly=false to the source; \
                                leave one out"),
        (false, Some(false)) => Ok(Access::ReadWrite),
        (false, None | Some(true)) => Ok(Access::ReadOnly),
    }
}

/// Splits at commas, by the rules of CSV that Docker has: a field that stands in double quotes may
/// hold commas, and a double quote that is doubled.
fn fields(text: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(bytes) = rest {
        let (field, after) = match bytes.strip_prefix(b"\"") {
            Some(quoted) => quoted_field(quoted)?,
            None => plain_field(bytes),
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

type Field<'a> = (Vec<u8>, Option<&'a [u8]>);

fn plain_field(bytes: &[u8]) -> Field<'_> {
    let comma = bytes.iter().position(|&byte| byte == b',');
    let (field, rest) = comma
        .map_or((bytes, None), |at| (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)));
    (field.to_vec(), rest)
}

fn quoted_field(mut bytes: &[u8]) -> Result<Field<'_>, &'static str> {
    let mut field = Vec::new();
    loop {
        match bytes {
            [b'"', b'"', rest @ ..] => {
                field.push(b'"');
                bytes = rest;
            }
            [b'"', b',', rest @ ..] => return Ok((field, Some(rest))),
            [b'"'] => return Ok((field, None)),
            [b'"', ..] => return Err("has something between a closing quote and the next comma"),
            [byte, rest @ ..] => {
                field.push(*byte);
                bytes = rest;
            }
            [] => return Err("has a quote that is not closed"),
        }
    }
}

fn truth(text: &[u8]) -> Option<bool> {
    match text {
        b"true" | b"1" => Some(true),
        b"false" | b"0" => Some(false),
        _ => None,
    }
}

/// Reads `TARGET[:size=SIZE]`; the last colon counts, and only before an option.
fn read_tmpfs(text: &OsStr) -> Result<Tmpfs> {
    let refused = |problem: String| Error::invalid("--tmpfs", shown(text), problem);
    let bytes = text.as_bytes();
    if let Some(option) = other_option(bytes) {
        return Err(refused(format!("has no option {option:?}; there is size, such as :size=64M")));
    }
    let colon = bytes.windows(6).rposition(|window| window == b":size=");
    let Some(at) = colon else {
        return Ok(Tmpfs { target: text.into(), size: None });
    };
    let (target, option) = bytes.split_at(at);
    let amount = String::from_utf8_lossy(option.get(6..).unwrap_or_default());
    let size = Limit::<ByteSize>::parse(&amount, unit)
        .map_err(|problem: String| refused(format!("size {amount:?} {problem}")))?;
    let target = PathBuf::from(OsString::from_vec(target.to_vec()));
    Ok(Tmpfs { target, size: Some(size) })
}

/// An option that is none here, Docker's or misspelt: what stands behind the last colon, if it has the
/// form of options rather than of the end of a path. `/a:b=c` has it; with `:size=` behind it, it is one.
fn other_option(bytes: &[u8]) -> Option<String> {
    const FLAGS: [&str; 14] = [
        "ro",
        "rw",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "atime",
        "noatime",
        "relatime",
        "strictatime",
    ];
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let options = bytes.rsplit(|&byte| byte == b':').next().filter(|last| last.len() < bytes.len());
    let options = String::from_utf8_lossy(options?);
    let is_other = |option: &&str| {
        let value_of = option.split_once('=').map(|(name, _)| name);
        FLAGS.contains(option) || value_of.is_some_and(|name| name != "size" && is_name(name))
    };
    options.split(',').find(is_other).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas_together() {
        for (text, split) in [
            ("a,b", &["a", "b"][..]),
            ("", &[""]),
            ("a,", &["a", ""]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""src=/x ""y"" z",ro"#, &[r#"src=/x "y" z"#, "ro"]),
            ("a\"b,c", &["a\"b", "c"]),
            ("\"a\nb\"", &["a\nb"]),
        ] {
            let wanted: Vec<_> = split.iter().map(|field| field.as_bytes().to_vec()).collect();
            assert_eq!(fields(text.as_bytes()), Ok(wanted), "{text}");
        }
        for text in ["\"a", "\"a\"b,c", "\""] {
            assert!(fields(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn any_byte_can_be_in_a_path() {
        let text = OsStr::from_bytes(b"\"source=/a, b:c\n\xff\",target=/d\xfe");
        let mount = read_mount(text).unwrap();
        assert_eq!(mount.source.as_os_str().as_bytes(), b"/a, b:c\n\xff");
        assert_eq!(mount.target.as_os_str().as_bytes(), b"/d\xfe");
        let mount = read_volume(OsStr::from_bytes(b"/\xff,:/b:cow")).unwrap();
        assert_eq!(
            (mount.source.as_os_str().as_bytes(), mount.access),
            (&b"/\xff,"[..], Access::CopyOnWrite)
        );
    }

    #[test]
    fn a_tmpfs_has_a_size_if_it_says_so() {
        let read = |text: &str| read_tmpfs(OsStr::new(text));
        assert_eq!(read("/a:b").unwrap(), Tmpfs { target: "/a:b".into(), size: None });
        let size = Some(ByteSize::mib(64).into());
        assert_eq!(read("/a:size=64M").unwrap(), Tmpfs { target: "/a".into(), size });
        assert!(read("/a:size=64").is_err());
        assert!(read("/a:size=64M,size=32M").is_err());
        for (text, option) in [
            ("/a:rw,noexec,size=64m", "rw"),
            ("/a:size=64m,mode=1777", "mode=1777"),
            ("/a:noexec", "noexec"),
            ("/a:sise=64M", "sise=64M"),
            ("/a:SIZE=64M", "SIZE=64M"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("has no option {option:?}")), "{error}");
        }
        assert_eq!(read("/a/rw").unwrap().target, Path::new("/a/rw"));
        assert_eq!(read("/a:b/c=d").unwrap().target, Path::new("/a:b/c=d"));
        assert_eq!(read("/a:b=c:size=1M").unwrap().target, Path::new("/a:b=c"));
    }
}
