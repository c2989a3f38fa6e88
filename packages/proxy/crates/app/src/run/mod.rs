//! `plait-proxy run`: serves workloads until it is told to stop.
//!
//! What differs between the forms of the command (resources in a file, or a mesh to join) ends where [`process::serve`] begins.
//! Called by `main`. Must not know how a request is served.

mod admin;
mod fixed;
mod follow;
mod joined;
mod kept;
mod plugins;
mod probe;
mod process;
mod ready;
mod settings;
mod status;

use std::{path::PathBuf, process::ExitCode};

use settings::{Options, SettingError, World};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  plait-proxy run --join 10.0.0.1:15012 --token-file token --state /var/lib/plait --admin /run/plait/admin.sock\n  \
                  plait-proxy run --config /etc/plait/proxy.toml"
)]
pub(crate) struct Run {
    /// The options below in a TOML file: token-file = "/run/plait/token"
    #[arg(long, value_name = "FILE", exclusive = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Why the proxy does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Config(PathBuf, toml::de::Error),
    #[error("{0}: {1}")]
    InConfig(PathBuf, SettingError),
    #[error("--{0}")]
    InOptions(SettingError),
    #[error("{0}: {1}")]
    Resources(PathBuf, String),
    #[error("no certificate for {0}: {1}")]
    Leaf(String, String),
    #[error("{0}: {1}")]
    Token(PathBuf, String),
    #[error("{0}")]
    ServiceAccount(String),
    #[error("the state folder {0} cannot be used: {1}")]
    State(PathBuf, std::io::Error),
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
            Self::Runtime(_) | Self::WorkerDied => 1,
            Self::Unreadable(..)
            | Self::Config(..)
            | Self::InConfig(..)
            | Self::InOptions(_)
            | Self::Resources(..)
            | Self::Leaf(..)
            | Self::Token(..)
            | Self::ServiceAccount(_)
            | Self::State(..)
            | Self::Admin(..) => 2,
        }
    }
}

/// Runs until the end of the process.
pub(crate) fn run(command: Run) -> Result<ExitCode, RunError> {
    let settings = match &command.config {
        Some(path) => Options::read(path)?.settings().map_err(|error| RunError::InConfig(path.clone(), error))?,
        None => command.options.settings().map_err(RunError::InOptions)?,
    };
    let runtime = process::runtime()?;
    let end = runtime.block_on(async move {
        let (admin, workers) = (settings.admin, settings.workers);
        let door = settings.door;
        let shared = match settings.world {
            World::Fixed { resources, identity_dir } => fixed::start(&admin, &resources, &identity_dir, door)?,
            World::Joined(joining) => joined::start(&admin, joining, door)?,
        };
        plugins::start(&shared, settings.plugins);
        process::serve(shared, workers).await
    });
    // An end waits for nobody: a name that is being looked up could take half a minute.
    runtime.shutdown_background();
    end
}
