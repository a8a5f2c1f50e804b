//! More than the service can do at once.

use std::sync::Mutex;

use serde_json::json;

use crate::support::{Client, Promise, Request, Service, promises, wait_until};

promises! {
    what_cannot_wait_is_sent_away_with_a_time_to_come_back,
    who_waits_too_long_is_told,
    callers_take_turns,
    nothing_is_lost_under_load,
    memory_stays_within_bounds,
    probes_cost_no_cell,
}

/// A client whose program takes a place until it hangs up.
fn holder(service: &Service, before: u64) -> Client {
    let mut client = service.client();
    client.tell(&Request::sleeper());
    wait_until("it runs", || service.figure("fumehood_running") == before + 1);
    client
}

fn what_cannot_wait_is_sent_away_with_a_time_to_come_back() -> Promise {
    let service = Service::start("[line]\nslots = 1\nwaiting = 1\nwait_time = '10m'");
    let _holds = holder(&service, 0);
    let mut waits = service.client();
    waits.tell(&Request::run(&json!({ "args": ["true"] })));
    wait_until("it waits", || service.figure("fumehood_waiting") == 1);
    let refused = service.ask(&Request::run(&json!({ "args": ["true"] })));
    let problem = refused.problem(429, "queue-full");
    let seconds: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=30).contains(&seconds));
    assert_eq!(problem["retry_after"], seconds);
    assert_eq!(service.figure("fumehood_refused_total{reason=\"full\"}"), 1);
    Ok(())
}

fn who_waits_too_long_is_told() -> Promise {
    let service = Service::start("[line]\nslots = 1\nwait_time = '100ms'");
    let _holds = holder(&service, 0);
    let refused = service.ask(&Request::run(&json!({ "args": ["true"] })));
    refused.problem(503, "no-place-in-time");
    assert!(refused.header("retry-after").is_some());
    Ok(())
}

fn callers_take_turns() -> Promise {
    let dir = tempfile::tempdir().expect("a place for files");
    let token =
        |name: &str| format!("[[token]]\nname = '{name}'\nsecret = 'the-secret-of-{name}'\n");
    let file = dir.path().join("tokens");
    std::fs::write(&file, token("many") + &token("few") + &token("eye")).expect("ours");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let settings = "[line]\nslots = 1\nwait_time = '10m'\n[access]\ntokens = 'DIR/tokens'";
    let service = Service::start_in(dir, settings);
    let by = |name: &str, request: Request| {
        request.header("authorization", &format!("Bearer the-secret-of-{name}"))
    };
    let figure = |name: &str| {
        let text = service.ask(&by("eye", Request::get("/metrics"))).is(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse::<u64>().expect("a whole number"))
    };
    let mut holds = service.client();
    holds.tell(&by("many", Request::sleeper()));
    wait_until("it runs", || figure("fumehood_running") == 1);
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (index, name) in ["many", "many", "many", "many", "few"].into_iter().enumerate() {
            // Its own clock says when it ran: answers may be read in another order.
            let request = by(name, Request::run(&json!({ "args": ["date", "+%s%N"] })));
            let (service, order) = (&service, &order);
            scope.spawn(move || {
                let report = service.ask(&request).is(200).json();
                let said = report["stdout"]["data"]["text"].as_str().expect("it is text");
                let time: u64 = said.trim().parse().expect("nanoseconds");
                order.lock().expect("nobody panics with it").push((time, name));
            });
            wait_until("it waits", || figure("fumehood_waiting") == index as u64 + 1);
        }
        drop(holds);
    });
    let mut order = order.into_inner().expect("nobody panics with it");
    order.sort_unstable();
    let few = order.iter().position(|(_, name)| *name == "few");
    assert!(few.is_some_and(|at| at <= 2), "{order:?}");
    Ok(())
}

fn nothing_is_lost_under_load() -> Promise {
    let service = Service::start("[line]\nwait_time = '10m'");
    let clients = 16;
    std::thread::scope(|scope| {
        for client in 0..clients {
            let service = &service;
            scope.spawn(move || {
                let mut connection = service.client();
                for number in 0..5 {
                    let word = format!("{client}-{number}");
                    let job = json!({ "args": ["sh", "-c", "echo $0; exit 7", word] });
                    let report = connection.ask(&Request::run(&job)).is(200).json();
                    assert_eq!(report["stdout"]["data"]["text"], format!("{word}\n"));
                    assert_eq!(report["outcome"]["code"], 7);
                }
            });
        }
    });
    let name = "fumehood_runs_total{surface=\"runs\",outcome=\"exited\"}";
    assert_eq!(service.figure(name), clients * 5);
    Ok(())
}

/// Every program prints all that it may. What is in memory is what runs, and what is on its way.
fn memory_stays_within_bounds() -> Promise {
    let service =
        Service::start("[line]\nslots = 2\nwait_time = '10m'\n[ceilings]\noutput = '2MiB'");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let service = &service;
            scope.spawn(move || {
                let job = json!({
                    "args": ["sh", "-c", "yes | head -c 3000000"],
                    "limits": { "output_excess": "truncate" },
                });
                let report = service.ask(&Request::run(&job)).is(200).json();
                assert_eq!(report["stdout"]["truncated"], true);
                assert_eq!(report["stdout"]["total"], 3_000_000);
            });
        }
    });
    let peak = service.peak_memory();
    assert!(peak < 100 << 10, "{peak} KiB");
    Ok(())
}

fn probes_cost_no_cell() -> Promise {
    let service = Service::start("");
    let cells = || {
        ["fumehood_cells_built_total", "fumehood_cells_parked", "fumehood_cells_discarded_total"]
            .map(|name| service.figure(name))
    };
    // Cells of every kind are built ahead at first.
    let (mut before, mut unchanged) = (cells(), 0);
    wait_until("no more cells are built", || {
        let now = cells();
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        unchanged >= 50 && before[1] >= 8
    });
    for _ in 0..20 {
        for path in ["/livez", "/readyz", "/", "/metrics"] {
            service.ask(&Request::get(path)).is(200);
        }
    }
    assert_eq!(cells(), before);
    assert_eq!(service.figure("fumehood_pool_hits_total"), 0);
    Ok(())
}
