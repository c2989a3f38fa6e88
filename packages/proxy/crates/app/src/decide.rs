//! `plait-proxy decide`: one question to the engine that serves traffic, offline; and how a request is read from
//! words, for the admin socket too. Called by `plait explain --dir`; opens no socket.

use std::path::PathBuf;

use plait_decide::explain::{Question, Unanswerable, explain};
use plait_discovery::snapshot_of;
use plait_model::{DestinationKey, PathError, RequestHead, canonical_path};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  plait-proxy decide --resources world.bin --from bookshop/web-1 GET http://reviews/reviews/7 -H 'x-tester: yes'"
)]
pub(crate) struct Decide {
    /// A serialised plait.v1.ChangeSet that holds the whole world
    #[arg(long)]
    resources: PathBuf,
    #[command(flatten)]
    request: Request,
}

/// A request as people write it.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The calling workload, namespace/name
    #[arg(long)]
    pub(crate) from: String,
    /// Method, for example GET
    pub(crate) method: String,
    /// Absolute, for example `http://reviews:80/reviews/7?x=y`
    pub(crate) url: String,
    /// The server that a client of TLS asks for; without it the host of the URL
    #[arg(long)]
    pub(crate) sni: Option<String>,
    /// A header field, "name: value"; may be repeated
    #[arg(short = 'H', long = "header")]
    pub(crate) headers: Vec<String>,
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    NoResources(PathBuf, String),
    #[error("{0:?} is no method; write for example GET")]
    Method(String),
    #[error("{0:?} is no URL of the mesh; write http://host[:port]/path")]
    Url(String),
    #[error("the path of {0:?} is refused: {1}")]
    Path(String, PathError),
    #[error("{0:?} is no header field; write 'name: value'")]
    Header(String),
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error("the decision cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl DecideError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unanswerable(_) => 1,
            Self::Unreadable(..)
            | Self::NoResources(..)
            | Self::Method(_)
            | Self::Url(_)
            | Self::Path(..)
            | Self::Header(_)
            | Self::Json(_) => 2,
        }
    }
}

/// The decision as JSON.
pub(crate) fn run(command: &Decide) -> Result<String, DecideError> {
    let bytes = std::fs::read(&command.resources).map_err(|error| DecideError::Unreadable(command.resources.clone(), error))?;
    let applied = snapshot_of(&bytes).map_err(|why| DecideError::NoResources(command.resources.clone(), why))?;
    for rejected in &applied.rejected {
        eprintln!("! {} was refused: {}", rejected.name, rejected.refused);
    }
    let question = command.request.question()?;
    let mut snapshot = applied.snapshot;
    let mut found = explain(&snapshot, &question, 0);
    if let Err(Unanswerable::NotHeld(key)) = &found {
        // The file holds the whole world: what is not in it, the mesh does not have.
        snapshot.unknown.insert(DestinationKey::from_contract(key));
        found = explain(&snapshot, &question, 0);
    }
    Ok(serde_json::to_string(&found?)?)
}

impl Request {
    /// The question to the engine.
    pub(crate) fn question(&self) -> Result<Question, DecideError> {
        Ok(Question { from: self.from.clone(), head: self.head()?, server_name: self.sni.clone() })
    }

    fn head(&self) -> Result<RequestHead, DecideError> {
        let wrong = || DecideError::Url(self.url.clone());
        let rest = self.url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
        let mut head = RequestHead {
            method: self.method.parse().map_err(|_| DecideError::Method(self.method.clone()))?,
            authority: authority.to_owned(),
            query,
            ..RequestHead::default()
        };
        let path = if path.is_empty() { "/" } else { path };
        canonical_path(path.as_bytes(), &mut head.path).map_err(|error| DecideError::Path(self.url.clone(), error))?;
        for field in &self.headers {
            let (name, value) =
                field.split_once(':').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(|| DecideError::Header(field.clone()))?;
            head.headers.append(name.trim(), value.trim().as_bytes());
        }
        Ok(head)
    }
}
