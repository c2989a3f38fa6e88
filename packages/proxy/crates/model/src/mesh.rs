//! What is true in the whole mesh.

/// The Mesh object, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesh {
    /// Trust domain of all identities.
    pub trust_domain: Box<str>,
    /// Whether plaintext callers are let in.
    pub mtls_mode: MtlsMode,
    /// What happens to a call that no policy speaks about.
    pub default_policy: DefaultPolicy,
    /// What happens to calls to destinations that the mesh does not know.
    pub egress: Egress,
    /// `None` = off.
    pub access_log: Option<AccessLog>,
    /// Share of traces begun here that carry the sampled flag, 0 to 1.
    pub sampling: f64,
    /// TCP address of `/metrics` and `/ready`; `None` = Unix socket only.
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// Limits on what a peer can send.
    pub limits: Limits,
    /// Every root to be trusted, DER.
    pub trust_bundle: Vec<Vec<u8>>,
}

impl Default for Mesh {
    /// Fails closed: before the control plane has spoken nobody may call and nothing leaves.
    fn default() -> Self {
        Self {
            trust_domain: "".into(),
            mtls_mode: MtlsMode::Strict,
            default_policy: DefaultPolicy::DenyAll,
            egress: Egress::Deny,
            access_log: None,
            sampling: 1.0,
            metrics_listen: None,
            limits: Limits::default(),
            trust_bundle: Vec::new(),
        }
    }
}

/// `Mesh.spec.mtls.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtlsMode {
    /// Only mutual TLS.
    Strict,
    /// Plaintext callers too; they have no identity.
    Permissive,
}

/// `Mesh.spec.defaultPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// Whoever proved an identity may call.
    AllowAuthenticated,
    /// Only what a policy allows.
    DenyAll,
    /// Everybody may call.
    AllowAll,
}

/// `Mesh.spec.egress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// Unknown destinations are passed on.
    Allow,
    /// Unknown destinations are refused.
    Deny,
}

/// `Mesh.spec.telemetry.accessLog`, JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog {
    /// Which requests are written.
    pub filter: AccessLogFilter,
}

/// `Mesh.spec.telemetry.accessLog.filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFilter {
    /// Every request and connection.
    All,
    /// Answers of 400 and above, and connections that failed.
    Errors,
}

/// `Mesh.spec.proxy.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest head of a request or response, bytes.
    pub head_bytes: usize,
    /// Most fields in a head.
    pub headers: usize,
    /// Most downstream connections of one proxy.
    pub connections: usize,
    /// Most body bytes kept for replay or mirroring, per request.
    pub buffered_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 64 * 1024, headers: 100, connections: 10_000, buffered_bytes: 64 * 1024 }
    }
}
