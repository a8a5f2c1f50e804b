//! What is asked of an engine: the part of Docker's API that Podman has as well.
//!
//! Version 1.40 (Docker 19.03, Podman 3) has all of it. What an engine says is read leniently, for
//! the two differ in what they leave out; what it is told is written by [`super::preset`].

use std::time::Duration;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::http::{Client, Failure, Hijacked, Pieces, escape};

const API: &str = "/v1.40";

/// How often a list of containers is asked for while one of them ends, which takes an engine some
/// milliseconds, and on a crowded machine a second.
const LISTINGS: u32 = 100;
const BETWEEN_LISTINGS: Duration = Duration::from_millis(20);

/// `GET /version`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) api_version: String,
    pub(super) components: Vec<Component>,
}

/// A part of an engine: Podman's is called `Podman Engine`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) version: String,
}

/// `GET /info`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Info {
    pub(super) default_runtime: String,
    pub(super) runtimes: std::collections::BTreeMap<String, serde_json::Value>,
    pub(super) security_options: Option<Vec<String>>,
    pub(super) cgroup_version: String,
    pub(super) memory_limit: bool,
    pub(super) pids_limit: bool,
    #[serde(rename = "CpuCfsQuota")]
    pub(super) cpu_quota: bool,
}

/// `GET /images/NAME/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) repo_digests: Option<Vec<String>>,
    pub(super) config: Option<ImageSection>,
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageSection {
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) working_dir: Option<String>,
    pub(super) volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

/// `GET /containers/ID/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    pub(super) state: State,
}

/// How a container is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub(super) running: bool,
    #[serde(rename = "OOMKilled")]
    pub(super) oom_killed: bool,
    pub(super) exit_code: i64,
    pub(super) error: String,
    pub(super) pid: i32,
}

/// One of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) labels: Option<std::collections::BTreeMap<String, String>>,
    pub(super) state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

/// One line of the progress of a pull.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub(super) status: String,
    pub(super) id: String,
    pub(super) progress: String,
    /// An engine that has begun to answer can report a failure only here, with status 200 above it.
    pub(super) error: Option<String>,
}

impl Client {
    pub(super) async fn version(&self) -> Result<Version, Failure> {
        // Without a version, so that an engine that is too old can still say how old.
        read(&self.ask(Method::GET, "/version", None).await?)
    }

    pub(super) async fn info(&self) -> Result<Info, Failure> {
        self.get("/info").await
    }

    pub(super) async fn image(&self, name: &str) -> Result<Image, Failure> {
        // Slashes and colons of a name are part of the path as they are.
        self.get(&format!("/images/{name}/json")).await
    }

    pub(super) async fn images(&self) -> Result<Vec<Image>, Failure> {
        self.get("/images/json").await
    }

    pub(super) async fn pull(&self, name: &str, tag: &str) -> Result<Pieces, Failure> {
        let (name, tag) = (escape(name), escape(tag));
        let path = format!("{API}/images/create?fromImage={name}&tag={tag}");
        self.stream(Method::POST, &path).await
    }

    /// Makes a container and gives its id.
    pub(super) async fn create(
        &self,
        name: &str,
        body: &impl Serialize,
    ) -> Result<String, Failure> {
        let body = serde_json::to_vec(body).map_err(unreadable)?;
        let path = format!("{API}/containers/create?name={}", escape(name));
        let created: Created = read(&self.ask(Method::POST, &path, Some(body)).await?)?;
        Ok(created.id)
    }

    pub(super) async fn attach(&self, id: &str) -> Result<Hijacked, Failure> {
        let query = "stream=1&stdin=1&stdout=1&stderr=1";
        self.hijack(&format!("{API}/containers/{id}/attach?{query}")).await
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), Failure> {
        self.post(&format!("/containers/{id}/start")).await
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Inspected, Failure> {
        self.get(&format!("/containers/{id}/json")).await
    }

    /// Sends a signal to the container's process 1.
    pub(super) async fn signal(&self, id: &str, signal: i32) -> Result<(), Failure> {
        self.post(&format!("/containers/{id}/kill?signal={signal}")).await
    }

    /// Kills a container if it runs and removes it with its volumes. One that is gone is no error.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Failure> {
        let path = format!("{API}/containers/{id}?force=1&v=1");
        match self.ask(Method::DELETE, &path, None).await {
            Err(failure) if !failure.is_status(404) => Err(failure),
            _ => Ok(()),
        }
    }

    /// All containers with a label, whatever their state: what is left behind was mostly never
    /// started.
    pub(super) async fn labelled(&self, label: &str) -> Result<Vec<Listed>, Failure> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=1&filters={}", escape(&filters));
        for _ in 1..LISTINGS {
            match self.get(&path).await {
                Err(failure) if failure.is_of_one_that_ends() => sleep(BETWEEN_LISTINGS).await,
                other => return other,
            }
        }
        self.get(&path).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(&self.ask(Method::GET, &format!("{API}{path}"), None).await?)
    }

    async fn post(&self, path: &str) -> Result<(), Failure> {
        self.ask(Method::POST, &format!("{API}{path}"), None).await.map(drop)
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Broken(std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What a list of containers comes to with an engine that gives these answers, and how many were left.
    async fn listed(test: &str, answers: &[(u16, &str)]) -> (Result<usize, Failure>, usize) {
        let name = format!("fumehood-fake-engine-{test}-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let left: Vec<_> =
            answers.iter().map(|&(status, body)| (status, body.to_owned())).collect();
        let engine = thread::spawn(move || {
            let mut left = left.into_iter();
            while let Some((mut stream, _)) = left.len().gt(&0).then(|| listener.accept().unwrap())
            {
                let mut request = [0; 4096];
                // Whoever connects without asking wants the engine to end.
                if stream.read(&mut request).unwrap() == 0 {
                    break;
                }
                let (status, body) = left.next().unwrap();
                let length = body.len();
                let head = "Content-Type: application/json\r\nConnection: close";
                write!(
                    stream,
                    "HTTP/1.1 {status} -\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .unwrap();
            }
            left.len()
        });
        let listed = Client::new(&socket).labelled("x").await.map(|listed| listed.len());
        drop(std::os::unix::net::UnixStream::connect(&socket));
        let left = engine.join().unwrap();
        std::fs::remove_file(&socket).unwrap();
        (listed, left)
    }

    const ENDS: (u16, &str) = (500, r#"{"message":"container 7: no such process"}"#);

    #[tokio::test]
    async fn a_list_is_asked_for_again_while_a_container_ends() {
        let (listed, left) = listed("again", &[ENDS, ENDS, (200, "[]")]).await;
        assert_eq!((listed.unwrap(), left), (0, 0));
    }

    #[tokio::test]
    async fn no_other_refusal_is_asked_about_again() {
        for refusal in [(500, r#"{"message":"no space left"}"#), (404, ENDS.1)] {
            let (listed, left) = listed("once", &[refusal, (200, "[]")]).await;
            assert!(listed.is_err() && left == 1, "{refusal:?}: {listed:?}, {left} left");
        }
    }
}
