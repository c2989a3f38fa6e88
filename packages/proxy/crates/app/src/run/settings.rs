//! What an operator sets, as options of the command or in a file of the same names. Read once, at start; checked here and nowhere else.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use plait_identity::{Home, JoinToken};
use serde::Deserialize;

use super::{RunError, plugins, probe::Probes};

/// Options as they come. In a file they are the keys of a TOML document: `token-file = "/run/plait/token"`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Joins the mesh whose control plane serves discovery there, host:port
    #[arg(long, value_name = "ADDRESS")]
    join: Option<String>,
    /// With --join: the join token, in a file; not needed again once the state folder holds a certificate. On a cluster: the projected
    /// service-account token, read again whenever it is shown
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// With a service-account token: where the CA serves, host:port
    #[arg(long, value_name = "ADDRESS")]
    identity: Option<String>,
    /// With a service-account token: the trust domain of the mesh
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
    /// With a service-account token: SHA-256 of a root that may vouch for the CA, in hexadecimal; may be given several times
    #[arg(long, value_name = "SHA256")]
    #[serde(default)]
    root: Vec<String>,
    /// With --join: a folder of this proxy alone, for its certificate and what it knows of the mesh; made when missing
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// With --join: the IP address at which other proxies reach this one, where its Workload listens on every address (0.0.0.0)
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// A serialised plait.v1.ChangeSet that holds the whole world; nothing is followed
    #[arg(long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// With --resources: a folder with leaf.pem and leaf.key, or one such folder for each service account
    #[arg(long, value_name = "DIR")]
    identity_dir: Option<PathBuf>,
    /// Unix socket that answers /ready, /metrics, /config, /connections and /explain; made with mode 0600
    #[arg(long, value_name = "SOCKET")]
    admin: Option<PathBuf>,
    /// A port of all addresses that answers /ready, /metrics and --probes from the start, whatever the mesh says
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// With --metrics-port: the probes of the application by their path, JSON, as injection writes them
    #[arg(long, value_name = "JSON", env = "PLAIT_PROBES")]
    probes: Option<String>,
    /// A Python interpreter that has plait-sdk and the packages of Plugins; without it the proxy runs no plugins
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// A folder of wheels, for Plugins that name a digest
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Threads that serve: one in a sidecar, as many as cores in a gateway [default: 1]
    #[arg(long)]
    workers: Option<u16>,
}

/// Options that fit together.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    /// The admin socket.
    pub(crate) admin: PathBuf,
    /// Threads that serve.
    pub(crate) workers: usize,
    /// What is open on the network, but for the workloads' own ports.
    pub(crate) door: Option<Door>,
    /// Where the world comes from.
    pub(crate) world: World,
    /// What plugins are run with.
    pub(crate) plugins: plugins::Settings,
}

/// The admin port of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Door {
    /// On every address.
    pub(crate) port: u16,
    /// Of the application.
    pub(crate) probes: Probes,
    /// Where the application is asked.
    pub(crate) host: IpAddr,
}

/// Where the world comes from.
#[derive(Debug, PartialEq)]
pub(crate) enum World {
    /// From a file.
    Fixed { resources: PathBuf, identity_dir: PathBuf },
    /// From a control plane.
    Joined(Joining),
}

/// How a mesh is joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joining {
    /// Of discovery, host:port.
    pub(crate) address: String,
    /// With the join token.
    pub(crate) token_file: Option<PathBuf>,
    /// What a service-account token does not say; `None` = it is a join token.
    pub(crate) home: Option<Home>,
    /// What outlives the process.
    pub(crate) state: PathBuf,
    /// Where other proxies reach this one; `None` = as its Workload says.
    pub(crate) reached_at: Option<IpAddr>,
}

/// A setting that is missing or does not fit.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{field}: {why}")]
pub(crate) struct SettingError {
    field: &'static str,
    why: &'static str,
}

impl SettingError {
    fn new<T>(field: &'static str, why: &'static str) -> Result<T, Self> {
        Err(Self { field, why })
    }
}

/// Plugins keep what they need beside what outlives the process, or, where nothing does, in a folder for its time.
fn run_with(python: Option<PathBuf>, wheels: Option<PathBuf>, world: &World) -> Result<plugins::Settings, SettingError> {
    if python.is_none() && wheels.is_some() {
        return SettingError::new("plugins", "is for python: without an interpreter no plugin is run");
    }
    let folder = match world {
        World::Joined(joining) => joining.state.join("plugins"),
        World::Fixed { .. } => std::env::temp_dir().join(format!("plait-plugins-{}", std::process::id())),
    };
    Ok(plugins::Settings { python, wheels, folder })
}

/// More threads than this are a slip of the finger.
const MOST_WORKERS: u16 = 256;

impl Options {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, RunError> {
        let text = std::fs::read_to_string(path).map_err(|error| RunError::Unreadable(path.to_owned(), error))?;
        toml::from_str(&text).map_err(|error| RunError::Config(path.to_owned(), error))
    }

    /// Checks what belongs together.
    pub(crate) fn settings(self) -> Result<Settings, SettingError> {
        let Self {
            join,
            token_file,
            identity,
            trust_domain,
            root,
            state,
            address: reached_at,
            resources,
            identity_dir,
            admin,
            metrics_port,
            probes,
            workers,
            python,
            plugins,
        } = self;
        let refuse = SettingError::new;
        let door = door(metrics_port, probes.as_deref(), reached_at)?;
        let home = home(identity, trust_domain, &root)?;
        let world = match (join, resources) {
            (Some(address), None) => {
                if identity_dir.is_some() {
                    return refuse("identity-dir", "is for resources; a proxy that joins gets its certificate from the mesh");
                }
                if !is_address(&address) {
                    return refuse("join", "must be host:port, where the control plane serves discovery");
                }
                let Some(state) = state else { return refuse("state", "is needed with join: a folder of this proxy alone") };
                if reached_at.is_some_and(|address| address.is_unspecified() || address.is_multicast()) {
                    return refuse("address", "must be one at which others reach this machine");
                }
                if home.is_some() && token_file.is_none() {
                    return refuse("token-file", "is needed with identity: the projected service-account token");
                }
                World::Joined(Joining { address, token_file, home, state, reached_at })
            }
            (None, Some(resources)) => {
                if token_file.is_some() || home.is_some() || state.is_some() || reached_at.is_some() {
                    return refuse("resources", "stands alone: token-file, identity, state and address are for join");
                }
                let Some(identity_dir) = identity_dir else {
                    return refuse("identity-dir", "is needed with resources: a folder with leaf.pem and leaf.key");
                };
                World::Fixed { resources, identity_dir }
            }
            (Some(_), Some(_)) => return refuse("resources", "and join exclude one another"),
            (None, None) => return refuse("join", "is missing: where the control plane serves discovery, host:port (or give resources)"),
        };
        let Some(admin) = admin else { return refuse("admin", "is missing: the path of the Unix socket to ask this proxy on") };
        match workers.unwrap_or(1) {
            workers @ 1..=MOST_WORKERS => {
                Ok(Settings { admin, workers: workers.into(), plugins: run_with(python, plugins, &world)?, door, world })
            }
            _ => refuse("workers", "must be from 1 to 256"),
        }
    }
}

/// A probe is asked at the pod's own address, as kubelet asks it: an application that listens on loopback alone is not reached by others.
fn door(port: Option<u16>, probes: Option<&str>, reached_at: Option<IpAddr>) -> Result<Option<Door>, SettingError> {
    let host = reached_at.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let Some(port) = port else {
        return if probes.is_some() { SettingError::new("probes", "needs metrics-port: where they are asked") } else { Ok(None) };
    };
    match Probes::parse(probes.unwrap_or("{}")) {
        Ok(probes) if port != 0 => Ok(Some(Door { port, probes, host })),
        Ok(_) => SettingError::new("metrics-port", "must be from 1 to 65535"),
        Err(_) => SettingError::new("probes", "is no table of probes as injection writes it"),
    }
}

/// The three stand together or not at all.
fn home(identity: Option<String>, trust_domain: Option<String>, root: &[String]) -> Result<Option<Home>, SettingError> {
    let (identity, trust_domain) = match (identity, trust_domain, root) {
        (None, None, []) => return Ok(None),
        (Some(identity), Some(trust_domain), [_, ..]) => (identity, trust_domain),
        _ => {
            return SettingError::new(
                "identity",
                "trust-domain and root belong together: all of them with a service-account token, else none",
            );
        }
    };
    if !is_address(&identity) {
        return SettingError::new("identity", "must be host:port, where the CA serves");
    }
    let roots: Option<Vec<_>> = root.iter().map(|hex| JoinToken::fingerprint(hex)).collect();
    let Some(roots) = roots else { return SettingError::new("root", "must be the SHA-256 of a root, 64 hexadecimal digits") };
    Ok(Some(Home { trust_domain: trust_domain.into(), identity_address: identity.into(), roots }))
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let options: Options = toml::from_str(text).map_err(|error| error.to_string())?;
        options.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let text = "join = 'cp:15012'\ntoken-file = '/t'\nstate = '/s'\naddress = '10.0.0.7'\nadmin = '/a'\nworkers = 4\npython = '/py'\nplugins = '/w'";
        let reached_at = Some([10, 0, 0, 7].into());
        let joining = Joining { address: "cp:15012".into(), token_file: Some("/t".into()), home: None, state: "/s".into(), reached_at };
        let plugins = plugins::Settings { python: Some("/py".into()), wheels: Some("/w".into()), folder: "/s/plugins".into() };
        assert_eq!(parse(text), Ok(Settings { admin: "/a".into(), workers: 4, door: None, world: World::Joined(joining), plugins }));
        let fixed = World::Fixed { resources: "/r".into(), identity_dir: "/i".into() };
        let found = parse("resources = '/r'\nidentity-dir = '/i'\nadmin = '/a'").unwrap();
        assert_eq!((found.workers, found.world, found.plugins.python), (1, fixed, None));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_name() {
        for (text, words) in [
            ("", "join: is missing"),
            ("join = 'cp:1'", "state: is needed"),
            ("join = 'cp'\nstate = '/s'", "join: must be host:port"),
            ("join = ':1'\nstate = '/s'", "join: must be host:port"),
            ("join = 'cp:70000'\nstate = '/s'", "join: must be host:port"),
            ("join = 'cp:1'\nstate = '/s'", "admin: is missing"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\nworkers = 0", "workers: must be"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\nworkers = -1", "workers"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\nplugins = '/w'", "plugins: is for python"),
            ("join = 'cp:1'\nresources = '/r'", "resources: and join exclude"),
            ("join = 'cp:1'\nidentity-dir = '/i'", "identity-dir: is for resources"),
            ("resources = '/r'", "identity-dir: is needed"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\nprobes = '{}'", "probes: needs metrics-port"),
            ("metrics-port = 0", "metrics-port: must be"),
            ("metrics-port = 15020\nprobes = '[]'", "probes: is no table"),
            (
                "metrics-port = 15020\nprobes = '{\"/p\":{\"http\":{\"port\":80,\"path\":\"/ x\"},\"timeoutSeconds\":1}}'",
                "probes: is no table",
            ),
            ("join = 'cp:1'\nidentity = 'cp:2'", "identity: trust-domain and root belong together"),
            ("join = 'cp:1'\nroot = ['00']", "identity: trust-domain and root belong together"),
            ("join = 'cp:1'\nidentity = 'cp'\ntrust-domain = 't'\nroot = ['00']", "identity: must be host:port"),
            ("join = 'cp:1'\nidentity = 'cp:2'\ntrust-domain = 't'\nroot = ['00']", "root: must be the SHA-256"),
            ("resources = '/r'\nstate = '/s'", "resources: stands alone"),
            ("resources = '/r'\naddress = '10.0.0.7'", "resources: stands alone"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\naddress = '0.0.0.0'", "address: must be one at which"),
            ("join = 'cp:1'\nstate = '/s'\nadmin = '/a'\naddress = 'host'", "address"),
            ("tokenfile = '/t'", "unknown field `tokenfile`"),
            ("admin = 7", "invalid type"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
