//! Clients that go away.

use serde_json::json;

use crate::support::{
    Promise, Request, Service, groups_of, has_process, marker, promises, wait_until,
};

promises! {
    a_client_that_is_gone_takes_its_program_with_it,
    what_was_sent_ahead_hides_no_hang_up,
    a_stream_that_nobody_reads_ends_with_its_client,
    who_leaves_the_line_is_not_run,
    a_unix_client_that_only_stops_sending_is_answered,
    many_clients_that_hang_up_at_any_moment_leave_nothing,
}

fn a_client_that_is_gone_takes_its_program_with_it() -> Promise {
    for address in ["127.0.0.1:0", "unix:DIR/socket"] {
        let service = Service::start(&format!("listen = ['{address}']"));
        let marker = marker();
        let mut client = service.client();
        // What it leaves behind must go, too.
        let script = "setsid sleep 50 & sleep 50";
        let limits = json!({ "wall_time": "1m" });
        let job = json!({ "args": ["sh", "-c", script, marker], "limits": limits });
        client.tell(&Request::run(&job));
        wait_until("it runs", || has_process(&marker));
        drop(client);
        wait_until("it is gone", || !has_process(&marker));
        wait_until("its place is free", || service.figure("fumehood_running") == 0);
        assert_eq!(service.figure("fumehood_abandoned_total"), 1);
    }
    Ok(())
}

/// Whoever reads the next request from a connection is not there to see that it ends.
fn what_was_sent_ahead_hides_no_hang_up() -> Promise {
    for address in ["127.0.0.1:0", "unix:DIR/socket"] {
        let service = Service::start(&format!("listen = ['{address}']"));
        let marker = marker();
        let mut client = service.client();
        let limits = json!({ "wall_time": "1m" });
        let job = json!({ "args": ["sh", "-c", "sleep 50", marker], "limits": limits });
        client.tell(&Request::run(&job));
        client.tell(&Request::get("/livez"));
        wait_until("it runs", || has_process(&marker));
        drop(client);
        wait_until("it is gone", || !has_process(&marker));
        assert_eq!(service.figure("fumehood_abandoned_total"), 1);
    }
    Ok(())
}

fn a_stream_that_nobody_reads_ends_with_its_client() -> Promise {
    let service = Service::start("");
    let marker = marker();
    let mut client = service.client();
    let script = "while :; do echo; sleep 0.01; done";
    // Longer than anybody waits here.
    let limits = json!({ "wall_time": "1m" });
    let job = json!({ "args": ["sh", "-c", script, marker], "limits": limits });
    client.tell(&Request::run(&job).streaming());
    wait_until("it runs", || has_process(&marker));
    drop(client);
    wait_until("it is gone", || !has_process(&marker));
    wait_until("its place is free", || service.figure("fumehood_running") == 0);
    Ok(())
}

fn who_leaves_the_line_is_not_run() -> Promise {
    let service = Service::start("[line]\nslots = 1\nwait_time = '10m'");
    let mut first = service.client();
    first.tell(&Request::sleeper());
    wait_until("it runs", || service.figure("fumehood_running") == 1);
    let marker = marker();
    let mut second = service.client();
    second.tell(&Request::run(&json!({ "args": ["sleep", "50", marker] })));
    wait_until("it waits", || service.figure("fumehood_waiting") == 1);
    drop(second);
    wait_until("it has left", || service.figure("fumehood_waiting") == 0);
    drop(first);
    wait_until("the place is free", || service.figure("fumehood_running") == 0);
    assert!(!has_process(&marker));
    Ok(())
}

fn a_unix_client_that_only_stops_sending_is_answered() -> Promise {
    let service = Service::start("listen = ['unix:DIR/socket']");
    let mut client = service.client();
    client.tell(&Request::run(&json!({ "args": ["sh", "-c", "sleep 0.2; echo done"] })));
    client.close_half();
    assert_eq!(client.answer().is(200).json()["stdout"]["data"]["text"], "done\n");
    Ok(())
}

/// As many as a test may take; `FUMEHOOD_HANGUPS` asks for more.
fn many_clients_that_hang_up_at_any_moment_leave_nothing() -> Promise {
    let named = std::env::var("FUMEHOOD_HANGUPS").ok();
    let clients: u32 = named.map_or(150, |text| text.parse().expect("a whole number"));
    let service = Service::start("[line]\nwaiting = 1000");
    let marker = marker();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (service, marker) = (&service, &marker);
            scope.spawn(move || {
                for number in 0..clients / 8 {
                    hang_up(service, marker, thread * 1_000_003 + number);
                }
            });
        }
    });
    wait_until("all places are free", || {
        (service.figure("fumehood_running"), service.figure("fumehood_waiting")) == (0, 0)
    });
    wait_until("all programs are gone", || !has_process(&marker));
    assert_eq!(service.run(&["true"])["outcome"]["code"], 0);
    assert_eq!(service.ask(&Request::get("/readyz")).status, 200);
    // The pool keeps groups for later; it keeps them no longer than itself.
    let pid = service.pid();
    let _dir = service.crash();
    wait_until("its control groups are gone", || groups_of(pid).is_empty());
    Ok(())
}

/// One client: what it sends, and when it goes, depends on its number alone.
fn hang_up(service: &Service, marker: &str, number: u32) {
    let chance = number.wrapping_mul(2_654_435_761) >> 16;
    let mut client = service.client();
    let job = json!({ "args": ["sh", "-c", "echo $$; sleep 0.05; echo", marker] });
    let request = Request::run(&job);
    let request = if chance.is_multiple_of(2) { request.streaming() } else { request };
    if chance.is_multiple_of(7) {
        let half = b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n";
        client.try_send(half);
        return;
    }
    client.tell(&request);
    if chance.is_multiple_of(5) {
        client.close_half();
    }
    std::thread::sleep(std::time::Duration::from_millis(u64::from(chance % 61)));
}
