//! `fumehood serve`: the HTTP service.
//!
//! A request passes, in this order: the connection ([`accept`]), the guard that knows who asks
//! ([`access`]), the line in which it waits for its turn ([`line`]), the reading of its body
//! ([`body`]), the policy ([`policy`]), and the pool of the library. Whoever hangs up drops all of it,
//! and with it the program's whole tree.

mod accept;
mod access;
mod args;
mod body;
mod config;
mod connections;
mod drain;
mod execute;
mod files;
mod head;
mod line;
mod listen;
mod log;
mod metrics;
mod notify;
mod page;
mod peer;
mod playground;
mod policy;
mod problem;
mod profile;
mod router;
mod sending;
mod service;
mod stall;
mod stream;
mod unread;
mod v1;

use std::sync::Arc;

use fumehood::Result;

use crate::{exit, output};
pub(crate) use args::ServeArgs;
use config::Config;
use service::Service;

/// Serves until it is told to stop, and returns the exit status.
pub(crate) fn serve(args: &ServeArgs) -> u8 {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => return output::failed(&error),
    };
    let done = if args.print_config { print(&config) } else { run(args, config) };
    done.map_or_else(|error| output::failed(&error), |()| exit::OK)
}

fn print(config: &Config) -> Result<()> {
    output::print(&config.to_toml()?)
}

fn run(args: &ServeArgs, config: Config) -> Result<()> {
    // Before there is a thread or a launcher, which take after this one. Where it cannot be had, a
    // request beside a program that keeps all processors busy waits longer, and nothing else.
    let is_prompt = fumehood::be_prompt().unwrap_or(false);
    // Half of the processors will do, the rest is for programs: every further thread is one more that a
    // run is handed to and from. On two processors one thread halves the switches between threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(service::processors().div_ceil(2))
        .enable_all()
        .build()
        .map_err(crate::error::internal("start a runtime"))?;
    let done = runtime.block_on(async {
        files::raise_limit();
        let listeners = listen::bind(&config)?;
        let config = config.bound_to(listeners.iter().map(listen::Listener::name).collect())?;
        let service = Service::new(config, is_prompt)?;
        drain::serve(&Arc::new(service), args, listeners).await
    });
    // What still runs is killed with the runtime; nothing is waited for.
    runtime.shutdown_background();
    done
}
