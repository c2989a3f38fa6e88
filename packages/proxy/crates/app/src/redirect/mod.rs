//! `plait-proxy redirect`: has the kernel send the connections of a pod or machine through its proxy, in one network namespace.
//!
//! Called by `main`; what the kernel is told stands in [`rules`]. Runs before the proxy and apart from it: the proxy itself has no such rights.

mod rules;

use std::{
    fs::File,
    io::{ErrorKind, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::{Command, Stdio},
};

use rules::{Network, Rules};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  plait-proxy redirect --proxy-uid 1337\n  plait-proxy redirect --proxy-uid 1337 --exclude-inbound 22 \
                  --exclude-inbound 15020\n  plait-proxy redirect --remove")]
pub(crate) struct Redirect {
    /// User id that the proxy runs as: its own connections are let go. Nobody else may have it
    #[arg(long, value_name = "UID", required_unless_present = "remove", value_parser = clap::value_parser!(u32).range(1..))]
    proxy_uid: Option<u32>,
    /// Port on which the proxy takes what processes here dial
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    outbound: u16,
    /// Port on which the proxy takes what others dial here
    #[arg(long, value_name = "PORT", default_value_t = 15006, value_parser = clap::value_parser!(u16).range(1..))]
    inbound: u16,
    /// Connections to this port are let go, wherever it is; may be repeated
    #[arg(long, value_name = "PORT")]
    exclude_outbound: Vec<u16>,
    /// Connections to these addresses are let go, for example 10.0.0.0/8; may be repeated
    #[arg(long, value_name = "CIDR")]
    exclude_cidr: Vec<Network>,
    /// What others dial on this port is let in as it is; may be repeated [default: 15020, the proxy's own /ready and /metrics]
    #[arg(long, value_name = "PORT", default_values_t = [15020], hide_default_value = true)]
    exclude_inbound: Vec<u16>,
    /// The network namespace, for example /proc/PID/ns/net, instead of this one
    #[arg(long, value_name = "FILE")]
    netns: Option<PathBuf>,
    /// Changes nothing, and prints what nft would be told
    #[arg(long)]
    print: bool,
    /// Takes every redirection back; where there is none that is well
    #[arg(long, conflicts_with_all = ["proxy_uid", "print"])]
    remove: bool,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedirectError {
    #[error("{0}: no network namespace can be entered there: {1}")]
    Namespace(PathBuf, std::io::Error),
    #[error("nft is not installed\n  → apt-get install nftables; the proxy's image has it")]
    Missing,
    #[error("nft cannot be run: {0}")]
    Unrunnable(std::io::Error),
    #[error(
        "the kernel refused the rules, nothing was changed: {0}\n  → run it as root with the capability NET_ADMIN, on Linux 5.2 or newer with nf_tables"
    )]
    Refused(String),
}

/// Does it, and says what was done.
pub(crate) fn run(command: &Redirect) -> Result<String, RedirectError> {
    let script = match command.proxy_uid {
        None => rules::REMOVAL.to_owned(),
        Some(proxy_uid) => Rules {
            proxy_uid,
            outbound: command.outbound,
            inbound: command.inbound,
            let_go_ports: &command.exclude_outbound,
            let_go_networks: &command.exclude_cidr,
            let_in_ports: &command.exclude_inbound,
        }
        .script(),
    };
    if command.print {
        return Ok(script.trim_end().to_owned());
    }
    match &command.netns {
        None => nft(&script)?,
        Some(path) => within(path.clone(), move || nft(&script))?,
    }
    Ok(match command.proxy_uid {
        None => "✓ no connection is redirected".to_owned(),
        Some(uid) => {
            format!(
                "✓ connections are redirected, outbound to {} and inbound to {}, all but those of user {uid}",
                command.outbound, command.inbound
            )
        }
    })
}

/// Does something in another network namespace, on a thread that ends with it: this one stays where it is.
fn within(path: PathBuf, work: impl FnOnce() -> Result<(), RedirectError> + Send + 'static) -> Result<(), RedirectError> {
    let enter = move || {
        let refused = |error: std::io::Error| RedirectError::Namespace(path.clone(), error);
        let file = File::open(&path).map_err(refused)?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| refused(error.into()))?;
        work()
    };
    std::thread::spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Tells the kernel all of it, or nothing.
fn nft(script: &str) -> Result<(), RedirectError> {
    let spawned = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        ErrorKind::NotFound => RedirectError::Missing,
        _ => RedirectError::Unrunnable(error),
    })?;
    if let Some(mut input) = child.stdin.take() {
        // One that ended without reading says why below.
        let _ = input.write_all(script.as_bytes());
    }
    let ended = child.wait_with_output().map_err(RedirectError::Unrunnable)?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Err(RedirectError::Refused(first.trim().to_owned()))
}
