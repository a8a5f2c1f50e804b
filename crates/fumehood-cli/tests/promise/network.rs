//! What the program can reach.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::support::{
    Listener, Probe, Promise, TempDir, Verdict, marker, parse, promises, run, run_reported,
};

promises![
    only_the_loopback_interface_exists,
    loopback_works_inside,
    cannot_reach_a_listener_of_the_host,
    cannot_reach_a_unix_socket_of_the_host,
    cannot_send_anything_outside,
    the_host_s_network_is_there_when_asked_for,
    an_unknown_network_is_refused,
];

fn only_the_loopback_interface_exists() -> Promise {
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1";
    assert_eq!(run(&[], &["sh", "-c", script]).prints(), "lo");
    Ok(())
}

/// Listeners of the host of every kind, and what the probe says about them.
struct Host {
    tcp: Listener,
    name: String,
    dir: TempDir,
    _abstract_listener: UnixListener,
    _path_listener: UnixListener,
}

impl Host {
    fn new() -> Self {
        let (name, dir) = (marker(), TempDir::new());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let abstract_listener = UnixListener::bind_addr(&address).expect("the name is new");
        let path_listener = UnixListener::bind(dir.join("socket")).expect("the path is new");
        Self {
            tcp: Listener::new(),
            name,
            dir,
            _abstract_listener: abstract_listener,
            _path_listener: path_listener,
        }
    }

    #[track_caller]
    fn tried(&self, flags: &[&str], name: &str) -> Result<Verdict, crate::support::Skip> {
        let (port, path) = (self.tcp.port().to_string(), self.dir.join("socket"));
        let args = ["network", &port, &self.name, &path.display().to_string()];
        let text = Probe::get()?.confined(flags, &args).run().prints();
        Ok(parse(&text).remove(name).unwrap_or_else(|| panic!("no {name} in\n{text}")))
    }
}

fn loopback_works_inside() -> Promise {
    let host = Host::new();
    assert_eq!(host.tried(&[], "loopback")?, Verdict::Done);
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        assert_eq!(host.tried(&[], "loopback6")?, Verdict::Done);
    }
    Ok(())
}

fn cannot_reach_a_listener_of_the_host() -> Promise {
    let host = Host::new();
    let verdict = host.tried(&[], "host-tcp")?;
    assert!(matches!(verdict, Verdict::Errno(_)), "{verdict:?}");
    assert_eq!(host.tcp.visitor(), None, "somebody came");
    Ok(())
}

fn cannot_reach_a_unix_socket_of_the_host() -> Promise {
    let host = Host::new();
    for name in ["host-abstract", "host-path"] {
        let verdict = host.tried(&[], name)?;
        assert!(matches!(verdict, Verdict::Errno(_)), "{name}: {verdict:?}");
    }
    Ok(())
}

fn cannot_send_anything_outside() -> Promise {
    const ENETUNREACH: i32 = 101;
    assert_eq!(Host::new().tried(&[], "outside")?, Verdict::Errno(ENETUNREACH));
    Ok(())
}

/// Shows too that the test above could fail.
fn the_host_s_network_is_there_when_asked_for() -> Promise {
    let host = Host::new();
    let flags = ["--network", "host", "--waive", "network"];
    assert_eq!(host.tried(&flags, "host-tcp")?, Verdict::Done);
    assert!(host.tcp.visitor().is_some(), "nobody came");
    // Abstract sockets belong to a network, too: who is given that does not get them along.
    let ran = run_reported(&flags, &["true"]).exits(0);
    let fence = &ran.report()["confinement"]["guarantees"]["landlock"]["by"];
    if fence.to_string().contains("abstract sockets") {
        let verdict = host.tried(&flags, "host-abstract")?;
        assert!(matches!(verdict, Verdict::Errno(_)), "{verdict:?}");
    }
    Ok(())
}

fn an_unknown_network_is_refused() -> Promise {
    run(&["--network", "bridge"], &["true"]).exits(125).complains("bridge");
    Ok(())
}
