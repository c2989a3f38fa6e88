//! `run --join`: a certificate for a token, then the world from the control plane, renewed and followed for as long as the process
//! lives. Without the control plane it serves from what was kept on disk; without that it serves nothing.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use plait_discovery::{Client, Connect, Connection, Event, Proxy};
use plait_identity::{Enrolment, Identities, JoinToken, ServiceAccountToken, Token};
use plait_model::World;
use plait_proxy_core::Shared;
use plait_telemetry::Telemetry;
use plait_wire::ChangeSet;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::watch};

use super::{
    RunError, admin, follow,
    kept::{self, Kept},
    ready::Readiness,
    settings::{Door, Joining},
    status::{Source, Status, Topic, say},
};

/// What must be known of a token when its file is gone: a secret is not kept for longer than it is needed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    workload: Arc<str>,
    identity_address: Arc<str>,
}

/// Everything under way; the workers are still to be started.
pub(crate) fn start(socket: &Path, joining: Joining, door: Option<Door>) -> Result<Arc<Shared>, RunError> {
    folder(&joining.state).map_err(|error| RunError::State(joining.state.clone(), error))?;
    let enrolment = enrolment(&joining)?;
    let workload = enrolment.workload.clone();
    say(format_args!("plait-proxy {} of {workload}, control plane {}", env!("CARGO_PKG_VERSION"), joining.address));
    let (world, demands) = World::new();
    let identities = Identities::new();
    let shared = Shared::new(world.clone(), identities.clone(), Telemetry::new(io::stdout()));
    let readiness = Readiness { shared: shared.clone(), status: Arc::new(Status::default()) };
    let status = readiness.status.clone();

    // What is on disk comes first, so that nobody sees this proxy without it.
    let leaf = enrolment.restore(&identities).unwrap_or_else(|error| {
        status.trouble(Topic::Identity, format_args!("! the certificate on disk is not used: {error}"));
        None
    });
    let mut kept = Kept::new(&joining.state, workload.clone());
    let before = leaf.as_deref().and_then(|leaf| enrolment.before(leaf));
    let leaves: Vec<_> = leaf.as_deref().into_iter().chain(before.as_ref()).collect();
    let (resources, snapshot) = kept.load(&leaves);
    kept::in_force(&readiness, snapshot);
    admin::start(socket, readiness.clone())?;
    follow::start(readiness.clone(), door);

    tokio::spawn(enrol(enrolment, identities.clone(), status.clone()));
    let (latest, changes) = watch::channel(None);
    tokio::spawn(kept.follow(readiness.clone(), changes));
    let proxy = Proxy {
        name: workload.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workloads: vec![workload.to_string()],
        address: joining.reached_at,
    };
    let connect = connector(joining.address.clone(), workload.clone(), identities.clone());
    let tell = teller(joining.address, readiness, latest);
    tokio::spawn(async move {
        // Without a certificate nobody would let us in.
        let mut certificates = identities.changes();
        while identities.leaf(&workload).is_none() && certificates.changed().await.is_ok() {}
        Client::new(proxy, resources, (world, demands), connect, tell).run().await;
    });
    Ok(shared)
}

/// A folder that is ours alone.
fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    // What is there decides who we are and what we serve: whoever owns it must be us.
    if metadata.uid() != fs::metadata("/proc/self")?.uid() {
        return Err(io::Error::other(format!("it belongs to another user (uid {})", metadata.uid())));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!("others can look into it (mode {mode:o}); run chmod 700 {}", path.display())));
    }
    Ok(())
}

/// By the token, else by what is remembered of it.
fn enrolment(joining: &Joining) -> Result<Enrolment, RunError> {
    let memory = joining.state.join("joined.json");
    let folder = joining.state.join("identity");
    if let (Some(home), Some(path)) = (&joining.home, &joining.token_file) {
        let token = ServiceAccountToken::read(path, home.clone()).map_err(|error| RunError::ServiceAccount(error.to_string()))?;
        return Ok(Enrolment::by_token(Token::ServiceAccount(token), folder));
    }
    if let Some((path, text)) = token(joining)? {
        let token = JoinToken::parse(&text).map_err(|error| RunError::Token(path.to_owned(), error.to_string()))?;
        let enrolment = Enrolment::by_token(Token::Join(token), folder);
        let remembered = Remembered { workload: enrolment.workload.clone(), identity_address: enrolment.identity_address.clone() };
        remember(&memory, &remembered).map_err(|error| RunError::State(memory, error))?;
        return Ok(enrolment);
    }
    let known = fs::read(&memory).ok().and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    let Some(Remembered { workload, identity_address }) = known else {
        let path = joining.token_file.clone().unwrap_or_else(|| "--token-file".into());
        return Err(RunError::Token(
            path,
            "there is no join token, and the state folder knows of none; make one: plait join-token create".to_owned(),
        ));
    };
    Ok(Enrolment { workload, token: None, folder, identity_address })
}

/// Whole or not at all.
fn remember(path: &Path, remembered: &Remembered) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(remembered)?)?;
    fs::rename(fresh, path)
}

fn token(joining: &Joining) -> Result<Option<(&Path, String)>, RunError> {
    let Some(path) = joining.token_file.as_deref() else { return Ok(None) };
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RunError::Unreadable(path.to_owned(), error)),
    }
}

async fn enrol(enrolment: Enrolment, identities: Arc<Identities>, status: Arc<Status>) {
    let address = enrolment.identity_address.clone();
    let report = |event: &plait_identity::Event| match event {
        // Without the pause, which differs each time.
        plait_identity::Event::Failed(error, _) => {
            status.trouble(Topic::Identity, format_args!("! waiting for a certificate from {address}: {error}"));
        }
        plait_identity::Event::Damaged(_) | plait_identity::Event::NotKept(_) => status.trouble(Topic::Identity, format_args!("! {event}")),
        plait_identity::Event::Restored(..) | plait_identity::Event::Signed(..) => status.well(Topic::Identity, format_args!("✓ {event}")),
    };
    enrolment.run(identities, report).await;
}

fn connector(address: String, workload: Arc<str>, identities: Arc<Identities>) -> Connect {
    Arc::new(move || {
        let (address, workload, identities) = (address.clone(), workload.clone(), identities.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(&*address).await?;
            stream.set_nodelay(true)?;
            let stream = identities.connect_control_plane(&workload, stream).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    })
}

/// What the client reports, in people's words and for the disk.
fn teller(address: String, readiness: Readiness, latest: watch::Sender<Option<Arc<ChangeSet>>>) -> impl FnMut(Event) + Send {
    move |event| {
        let Readiness { shared, status } = &readiness;
        match event {
            Event::Current => {
                status.set_source(Source::Live);
                status.well(Topic::ControlPlane, format_args!("✓ the control plane at {address} answers"));
            }
            Event::Away(why) => match shared.world.load().generation {
                0 => status.trouble(Topic::ControlPlane, format_args!("! waiting for the control plane at {address}: {why}")),
                generation => status.trouble(
                    Topic::ControlPlane,
                    format_args!("! the control plane at {address} is away: {why}; generation {generation} stays in force"),
                ),
            },
            Event::Rejected(rejected) => {
                for one in rejected {
                    say(format_args!("! {} cannot be as the control plane has it, its last good version stays: {}", one.name, one.refused));
                }
            }
            Event::Refused(why) => say(format_args!("! a change was refused: {why}")),
            Event::Keep(changes) => drop(latest.send_replace(Some(Arc::new(changes)))),
        }
    }
}
