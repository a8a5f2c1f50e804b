//! What an operator gives to remote jobs that name it.

use fumehood::{InputLimits, Job, Limits, Root, Stdin};
use serde::{Deserialize, Deserializer, Serialize};

/// What jobs can be based on: a job of the operator's, without a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Profile(pub(crate) Job);

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(deserializer)?;
        let stand_in = toml::Value::Array(vec!["true".into()]);
        table.entry("args").or_insert(stand_in);
        let job = Job::deserialize(toml::Value::Table(table)).map_err(serde::de::Error::custom)?;
        Ok(Self(job))
    }
}

impl Profile {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.0.validate().map_err(|error| error.to_string())
    }

    /// A remote job, with everything that the profile gives it. What the job names counts; what has its
    /// default is not named.
    pub(super) fn extend(&self, job: Job) -> Job {
        let mut whole = self.0.clone();
        whole.args = job.args;
        if job.cwd.as_os_str() != Job::CWD {
            whole.cwd = job.cwd;
        }
        if job.hostname != Job::HOSTNAME {
            whole.hostname = job.hostname;
        }
        if job.root != Root::Host {
            whole.root = job.root;
        }
        if !job.collect.paths.is_empty() {
            whole.collect = job.collect;
        }
        if job.stdin != Stdin::default() {
            whole.stdin = job.stdin;
        }
        whole.tty |= job.tty;
        whole.env.set.extend(job.env.set);
        whole.tmpfs.extend(job.tmpfs);
        whole.inputs.extend(job.inputs);
        whole.input_limits = over_inputs(&job.input_limits, &self.0.input_limits);
        whole.require.extend(job.require);
        whole.limits = over(&job.limits, &self.0.limits);
        whole
    }
}

/// The limits that a job names, and beneath them those of its profile.
fn over(own: &Limits, base: &Limits) -> Limits {
    Limits {
        wall_time: own.wall_time.or(base.wall_time),
        cpu_time: own.cpu_time.or(base.cpu_time),
        memory: own.memory.or(base.memory),
        pids: own.pids.or(base.pids),
        output: own.output.or(base.output),
        output_excess: unless(
            &Limits::default().output_excess,
            own.output_excess,
            base.output_excess,
        ),
        file_size: own.file_size.or(base.file_size),
        open_files: own.open_files.or(base.open_files),
        workspace: own.workspace.or(base.workspace),
        tmp: own.tmp.or(base.tmp),
        inodes: own.inodes.or(base.inodes),
        cpus: own.cpus.or(base.cpus),
        grace: own.grace.or(base.grace),
    }
}

/// The same of inputs.
fn over_inputs(own: &InputLimits, base: &InputLimits) -> InputLimits {
    let usual = InputLimits::default();
    InputLimits {
        entries: unless(&usual.entries, own.entries, base.entries),
        size: unless(&usual.size, own.size, base.size),
        depth: unless(&usual.depth, own.depth, base.depth),
        ratio: unless(&usual.ratio, own.ratio, base.ratio),
    }
}

/// A job's own value, unless it is the usual one.
fn unless<T: PartialEq>(usual: &T, own: T, base: T) -> T {
    if own == *usual { base } else { own }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    /// A value of each field that is not its default, by a profile.
    fn given() -> Map<String, Value> {
        let all = json!({
            "backend": "docker",
            "collect": { "paths": ["out"], "files": 7 },
            "cwd": "/tmp",
            "env": { "set": { "GIVEN": "1" } },
            "hostname": "given",
            "input_limits": { "entries": 1, "size": "1MiB", "depth": 2, "ratio": 3 },
            "inputs": [{ "to": "given", "text": "" }],
            "limits": {
                "wall_time": "1s", "cpu_time": "2s", "memory": "3MiB", "pids": 4,
                "output": "5B", "output_excess": "truncate", "file_size": "6MiB",
                "open_files": 17, "workspace": "8MiB", "tmp": "9MiB", "inodes": 1000, "cpus": "0.5",
                "grace": "12s"
            },
            "mounts": [{ "source": "/usr", "target": "/given" }],
            "network": "host",
            "require": ["memory"],
            "root": { "image": "given" },
            "seccomp": { "profile": "/given" },
            "stdin": { "text": "given" },
            "tmpfs": [{ "target": "/cache" }],
            "tty": true,
            "waive": ["landlock"]
        });
        let Value::Object(all) = all else { unreachable!("written so") };
        all
    }

    fn job(mut fields: Map<String, Value>) -> Job {
        fields.insert("args".to_owned(), json!(["true"]));
        Job::deserialize(Value::Object(fields)).unwrap()
    }

    /// A field that is new is for somebody to give here.
    #[test]
    fn what_a_job_does_not_name_is_its_profiles() {
        let schema = fumehood::job_schema();
        for name in schema["properties"].as_object().unwrap().keys().filter(|name| *name != "args")
        {
            let value = given().remove(name).unwrap_or_else(|| panic!("{name}: not given"));
            let of_profile = job(Map::from_iter([(name.clone(), value)]));
            assert_ne!(of_profile, job(Map::new()), "{name}");
            let whole = Profile(of_profile.clone()).extend(job(Map::new()));
            assert_eq!(whole, of_profile, "{name}");
        }
        for name in ["limits", "input_limits"] {
            let properties = if name == "limits" { "Limits" } else { "InputLimits" };
            let named = schema["$defs"][properties]["properties"].as_object().unwrap().len();
            assert_eq!(given()[name].as_object().unwrap().len(), named, "{name}");
        }
    }

    #[test]
    fn what_a_job_names_counts() {
        let own = json!({
            "cwd": "/own",
            "env": { "set": { "GIVEN": "2" } },
            "hostname": "own",
            "input_limits": { "depth": 5 },
            "limits": { "wall_time": "7s" },
            "stdin": { "text": "own" }
        });
        let Value::Object(own) = own else { unreachable!("written so") };
        let (own, base) = (job(own), job(given()));
        let whole = Profile(base.clone()).extend(own.clone());
        assert_eq!((&whole.cwd, &whole.hostname), (&own.cwd, &own.hostname));
        assert_eq!((&whole.stdin, &whole.env.set), (&own.stdin, &own.env.set));
        assert_eq!(whole.limits.wall_time, own.limits.wall_time);
        assert_eq!(whole.limits.memory, base.limits.memory);
        assert_eq!((whole.input_limits.depth, whole.input_limits.ratio), (5, 3));
    }
}
