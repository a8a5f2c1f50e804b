//! What can be written behind `fumehood serve`.

use std::path::PathBuf;

use clap::Args;

/// Serve runs over HTTP: a native interface, the Go playground's, and a page to try it
///
/// Settings come from a TOML file, then from the environment (FUMEHOOD_CONFIG names the file,
/// FUMEHOOD_LISTEN, FUMEHOOD_TOKENS, FUMEHOOD_SLOTS), then from flags; what comes later wins. SIGTERM ends the service in good order,
/// SIGHUP reads the settings anew.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Read settings from this TOML file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen here: ADDRESS:PORT or unix:PATH; may be given several times [default: 127.0.0.1:8375]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// Read the tokens that callers need from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// How many programs run at the same time [default: one for each processor, at least 2]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) slots: Option<usize>,
    /// Print the settings that are in force, and do nothing else
    #[arg(long)]
    pub(crate) print_config: bool,
}
