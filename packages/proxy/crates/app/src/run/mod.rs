//! `plait-proxy run`: serves workloads until it is told to stop.
//!
//! What differs between the forms of the command (resources in a file, or a mesh to join) ends where [`process::serve`] begins.
//! Called by `main`. Must not know how a request is served.

mod admin;
mod fixed;
mod follow;
mod process;
mod status;

use std::{path::PathBuf, process::ExitCode};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  plait-proxy run --resources world.bin --identity-dir identity/web --admin web.sock")]
pub(crate) struct Run {
    /// A serialised plait.v1.ChangeSet that holds the whole world; nothing is followed
    #[arg(long, value_name = "FILE", requires = "identity_dir")]
    resources: PathBuf,
    /// With --resources: a folder with leaf.pem and leaf.key, or one such folder for each service account
    #[arg(long, value_name = "DIR")]
    identity_dir: PathBuf,
    /// Unix socket that answers /ready, /metrics, /config, /connections and /explain; made with mode 0600
    #[arg(long, value_name = "SOCKET")]
    admin: PathBuf,
    /// Threads that serve: one in a sidecar, as many as cores in a gateway
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
}

/// Why the proxy does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Resources(PathBuf, String),
    #[error("no certificate for {0}: {1}")]
    Leaf(String, String),
    #[error("the admin socket {0} cannot be opened: {1}")]
    Admin(PathBuf, std::io::Error),
    #[error("the operating system refused a thread or a signal handler: {0}")]
    Runtime(std::io::Error),
    #[error("a worker ended: this is a bug; what it said stands above")]
    WorkerDied,
}

impl RunError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable(..) | Self::Resources(..) | Self::Leaf(..) | Self::Admin(..) => 2,
            Self::Runtime(_) | Self::WorkerDied => 1,
        }
    }
}

/// Runs until the end of the process.
pub(crate) fn run(command: &Run) -> Result<ExitCode, RunError> {
    process::control_runtime()?.block_on(fixed::run(command))
}
