//! Which jobs can have the same cell.

use std::path::Path;

use super::{Access, BackendName, Job, Limits, Root, Stdin};

impl Job {
    /// Whether a cell for it can be built before it is there: only our own are. A directory or an image as root has a
    /// say in the program's arguments and environment, too; what is below a copy-on-write mount
    /// should be as it is when the program starts; and a working directory is made with the root.
    pub(crate) fn can_be_parked(&self) -> bool {
        self.backend == BackendName::Native
            && self.root == Root::Host
            && !self.makes_its_cwd()
            && self.mounts.iter().all(|mount| mount.access != Access::CopyOnWrite)
    }

    /// Whether its working directory is made, because it lies in scratch and, as far as can be told
    /// without looking, in no mount in there.
    fn makes_its_cwd(&self) -> bool {
        let depth = |dir: &Path| self.cwd.starts_with(dir).then(|| dir.components().count());
        let own = self.tmpfs.iter().map(|own| own.target.as_path());
        let scratch = ["/workspace", "/tmp", "/dev/shm"].map(Path::new).into_iter().chain(own);
        let scratch = scratch.filter_map(depth).max();
        let mounts = self.mounts.iter().filter(|mount| !mount.optional);
        let mounted = mounts.filter_map(|mount| depth(&mount.target)).max();
        scratch > mounted && scratch != Some(self.cwd.components().count())
    }

    /// A job whose cell is that of this one, without anything that is this one's own: what it runs,
    /// its environment, and what it is fed.
    pub(crate) fn shape(&self) -> Self {
        let Self { root, mounts, tmpfs, network, hostname, waive, seccomp, backend, .. } = self;
        Self {
            root: root.clone(),
            mounts: mounts.clone(),
            tmpfs: tmpfs.clone(),
            collect: self.collect.clone(),
            network: network.clone(),
            hostname: hostname.clone(),
            limits: self.limits.clone(),
            waive: waive.clone(),
            seccomp: seccomp.clone(),
            backend: *backend,
            ..Self::new(["true"])
        }
    }

    /// Whether a cell that was built for one of the two can run the other: whether they differ only
    /// in what a cell gets when its program starts, and in what its supervisor watches.
    ///
    /// Every field is named here, so that none that is added is forgotten.
    pub(crate) fn same_cell(&self, other: &Self) -> bool {
        let Self {
            args: _,
            env: _,
            cwd: _,
            stdin: _,
            tty: _,
            root,
            mounts,
            tmpfs,
            inputs: _,
            input_limits: _,
            collect,
            network,
            hostname,
            limits,
            require: _,
            waive,
            seccomp,
            backend,
        } = self;
        *root == other.root
            && *mounts == other.mounts
            && *tmpfs == other.tmpfs
            // A cell whose files are collected hands out its root.
            && collect.paths.is_empty() == other.collect.paths.is_empty()
            && *network == other.network
            && *hostname == other.hostname
            && limits.same_cell(&other.limits)
            && *waive == other.waive
            && *seccomp == other.seccomp
            && *backend == other.backend
            && ![self, other].into_iter().any(Self::makes_its_cwd)
    }
}

impl Job {
    /// Whether all that is done for it depends on the job alone: not on the caller's environment, nor on
    /// inputs, nor on the size of a terminal.
    pub(crate) fn has_recipe(&self) -> bool {
        !self.tty && self.inputs.is_empty() && self.env.inherit.is_empty()
    }

    /// The same without what it runs and feeds.
    pub(crate) fn without_program(&self) -> Self {
        Self { args: vec!["true".to_owned()], stdin: Stdin::None, ..self.clone() }
    }

    /// Whether the two differ only in the program that is run, and in its standard input, and each
    /// [has a recipe](Self::has_recipe): then they have the same plan but for where the program is
    /// looked for.
    ///
    /// Every field is named here, so that none that is added is forgotten.
    pub(crate) fn same_plan(&self, other: &Self) -> bool {
        let Self {
            args: _,
            env,
            cwd,
            stdin: _,
            tty,
            root: _,
            mounts: _,
            tmpfs: _,
            inputs,
            input_limits,
            collect,
            network: _,
            hostname: _,
            limits,
            require,
            waive: _,
            seccomp: _,
            backend: _,
        } = self;
        self.has_recipe()
            && *inputs == other.inputs
            && *tty == other.tty
            && *env == other.env
            && *cwd == other.cwd
            && *input_limits == other.input_limits
            && *collect == other.collect
            && *limits == other.limits
            && *require == other.require
            && self.same_cell(other)
    }
}

impl Limits {
    fn same_cell(&self, other: &Self) -> bool {
        let Self {
            wall_time: _,
            cpu_time: _,
            memory: _,
            pids: _,
            output: _,
            output_excess: _,
            file_size: _,
            open_files: _,
            workspace: _,
            tmp: _,
            inodes: _,
            cpus: _,
            grace: _,
        } = self;
        self.memory() == other.memory()
            && self.pids() == other.pids()
            && self.cpus() == other.cpus()
            && self.workspace() == other.workspace()
            && self.tmp() == other.tmp()
            && self.inodes() == other.inodes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::{ByteSize, Guarantee, Input, Job, Limit, Tmpfs};

    #[test]
    fn data_do_not_shape_a_cell() {
        let one = Job::new(["true"]);
        let other = Job::new(["python3", "-c", "pass"]).env("A", "b").cwd("/tmp");
        let other = other.limits(|limits| limits.memory = Some(ByteSize::mib(512).into()));
        assert!(one.same_cell(&other), "512 MiB is the default");
    }

    #[test]
    fn the_shape_of_a_job_has_its_cell_and_not_its_data() {
        let job =
            Job::new(["sh", "-c", "private"]).env("A", "private").stdin(b"private".as_slice());
        let job = job.mount("/srv", "/srv").collect("out").hostname("other");
        assert!(job.same_cell(&job.shape()));
        assert!(!format!("{:?}", job.shape()).contains("private"));
    }

    #[test]
    fn only_the_program_and_its_input_shape_no_plan() {
        let one = Job::new(["true"]).env("A", "a");
        assert!(one.same_plan(&Job::new(["cat"]).env("A", "a").stdin(b"in".as_slice())));
        assert!(one.same_plan(&one.without_program()));
        let differing = [
            one.clone().env("B", "b"),
            one.clone().inherit_env("B"),
            one.clone().cwd("/tmp"),
            one.clone().input(Input::bytes("in")),
            one.clone().collect("out"),
            one.clone().limits(|limits| limits.open_files = Some(64.into())),
            one.clone().limits(|limits| limits.wall_time = Some(Limit::Unlimited)),
            one.clone().hostname("other"),
            Job { tty: true, ..one.clone() },
            Job { require: [Guarantee::Memory].into(), ..one.clone() },
        ];
        for other in differing {
            assert!(!one.same_plan(&other) && !other.same_plan(&one), "{other:?}");
        }
        let inherits = one.inherit_env("B");
        assert!(!inherits.same_plan(&inherits), "what the caller has may change");
    }

    /// A value that is no default for every field of a job, for every limit as one of `limits`, and
    /// whether a cell differs by it.
    fn fields() -> Vec<(&'static str, Value, bool)> {
        let (cell, not) = (true, false);
        vec![
            ("args", json!(["cat"]), not),
            ("env", json!({ "set": { "A": "b" } }), not),
            ("cwd", json!("/tmp"), not),
            ("stdin", json!({ "text": "in" }), not),
            ("tty", json!(true), not),
            ("root", json!({ "dir": "/srv" }), cell),
            ("mounts", json!([{ "source": "/srv", "target": "/srv" }]), cell),
            ("tmpfs", json!([{ "target": "/srv" }]), cell),
            ("inputs", json!([{ "text": "in", "to": "in" }]), not),
            ("input_limits", json!({ "entries": 7 }), not),
            ("collect", json!({ "paths": ["out"] }), cell),
            ("network", json!("host"), cell),
            ("hostname", json!("other"), cell),
            ("require", json!(["kernel-boundary"]), not),
            ("waive", json!(["syscall-filter"]), cell),
            ("seccomp", json!({ "profile": "/srv/profile.json" }), cell),
            ("backend", json!("crun"), cell),
            ("limits.wall_time", json!("7s"), not),
            ("limits.cpu_time", json!("7s"), not),
            ("limits.memory", json!("64MiB"), cell),
            ("limits.pids", json!(7), cell),
            ("limits.output", json!("7KiB"), not),
            ("limits.output_excess", json!("truncate"), not),
            ("limits.file_size", json!("7KiB"), not),
            ("limits.open_files", json!(64), not),
            ("limits.workspace", json!("1MiB"), cell),
            ("limits.tmp", json!("1MiB"), cell),
            ("limits.inodes", json!(77), cell),
            ("limits.cpus", json!(0.5), cell),
            ("limits.grace", json!("7s"), not),
        ]
    }

    fn job_with(field: &str, value: &Value) -> Job {
        let mut job = json!({ "args": ["true"] });
        let (object, name) = match field.split_once('.') {
            Some((outer, name)) => {
                job[outer] = json!({});
                (&mut job[outer], name)
            }
            None => (&mut job, field),
        };
        object[name] = value.clone();
        Job::from_json(&job.to_string()).unwrap()
    }

    #[test]
    fn no_field_is_forgotten() {
        let schema = crate::job_schema();
        let names = |of: &Value, before: &str| -> Vec<_> {
            let fields = of["properties"].as_object().unwrap();
            fields.keys().map(|name| format!("{before}{name}")).collect()
        };
        let limits = names(&schema["$defs"]["Limits"], "limits.");
        let all = [names(&schema, ""), limits].concat().into_iter();
        let all: BTreeSet<_> = all.filter(|name| name != "limits").collect();
        let listed = fields().into_iter().map(|(name, ..)| name.to_owned()).collect();
        assert_eq!(all, listed);
    }

    #[test]
    fn confinement_shapes_a_cell_and_nothing_else() {
        let one = Job::new(["true"]);
        for (name, value, shapes) in fields() {
            let other = job_with(name, &value);
            assert_ne!(one, other, "{name} has its default");
            assert_eq!(one.same_cell(&other), !shapes, "{name}");
            assert_eq!(other.same_cell(&one), !shapes, "{name}");
            assert!(other.same_cell(&other.shape()), "{name}");
            let is_fed = ["args", "stdin"].contains(&name);
            assert_eq!(one.same_plan(&other), is_fed, "{name}");
        }
    }

    #[test]
    fn a_cell_that_is_there_has_no_working_directory_of_a_job_s_own() {
        let plain = Job::new(["pwd"]).mount("/srv", "/workspace/in");
        let plain = Job { tmpfs: vec![Tmpfs { target: "/cache".into(), size: None }], ..plain };
        for (cwd, is_made) in [
            ("/workspace", false),
            ("/workspace/a", true),
            ("/workspace/a/b", true),
            ("/workspace/in", false),
            ("/workspace/in/a", false),
            ("/workspace/inn", true),
            ("/tmp", false),
            ("/tmp/a", true),
            ("/dev/shm/a", true),
            ("/cache", false),
            ("/cache/a", true),
            ("/", false),
            ("/usr/bin", false),
        ] {
            let job = plain.clone().cwd(cwd);
            assert_eq!((job.can_be_parked(), plain.same_cell(&job)), (!is_made, !is_made), "{cwd}");
            assert_eq!(job.same_cell(&plain), !is_made, "{cwd}");
        }
        let mut optional = plain.cwd("/workspace/in/a");
        optional.mounts[0].optional = true;
        assert!(!optional.can_be_parked(), "it may not be there, and then the directory is made");
    }

    #[test]
    fn only_cells_of_ours_that_nobody_else_has_a_say_in_are_parked() {
        for (name, value, _) in fields() {
            let has_a_say = ["root", "backend"].contains(&name);
            assert_eq!(job_with(name, &value).can_be_parked(), !has_a_say, "{name}");
        }
        for (access, can_be) in [("ro", true), ("rw", true), ("cow", false)] {
            let plain = json!({ "source": "/srv", "target": "/srv" });
            let mount = json!({ "source": "/a", "target": "/a", "access": access });
            assert_eq!(job_with("mounts", &json!([plain, mount])).can_be_parked(), can_be);
        }
    }
}
