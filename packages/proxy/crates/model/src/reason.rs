//! Every reason for which the mesh itself answers; stable words that people search for.

/// Why the mesh answered instead of the destination. `as_str` is the stable code that callers, logs and metrics see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request was malformed or its framing ambiguous.
    BadRequest,
    /// The head was longer than the limit, or had too many fields.
    HeadTooLarge,
    /// The caller did not send its head, or the body that it had announced, in time.
    SlowCaller,
    /// No rule of the route matched.
    RouteNotFound,
    /// The chosen backend does not exist or cannot serve.
    BackendNotFound,
    /// The Service exists but the port is none of its ports.
    PortNotFound,
    /// The backend has no ready endpoint.
    NoReadyEndpoint,
    /// The connection to the process, or to its sidecar, was refused or timed out.
    UpstreamUnreachable,
    /// The connection broke before the answer.
    UpstreamReset,
    /// The request met a kept connection that its server was closing, and may not be repeated.
    UpstreamClosing,
    /// The answer was no valid HTTP.
    UpstreamProtocolError,
    /// The destination could not prove the identity that it must have.
    UpstreamIdentity,
    /// `timeouts.request` ran out.
    RequestTimeout,
    /// `timeouts.attempt` ran out.
    AttemptTimeout,
    /// A policy denied the call.
    PolicyDenied,
    /// A plugin refused the call.
    PluginDenied,
    /// The code of a plugin failed, or wanted what cannot be; its onError is Closed.
    PluginError,
    /// A plugin did not answer in time; its onTimeout is Closed.
    PluginTimeout,
    /// A plugin is not loaded, or was taken out for failing too often, and is Closed.
    PluginUnavailable,
    /// More is asked of a plugin than it can answer, and its onError is Closed.
    PluginQueueFull,
    /// A plugin reads whole bodies, and this one is longer than its limit.
    BodyTooLarge,
    /// The caller has no identity and the mesh asks for one.
    Unauthenticated,
    /// The mesh does not know the destination and `egress` is Deny.
    EgressDenied,
    /// The control plane did not say whether the destination belongs to the mesh.
    DiscoveryUnavailable,
    /// This workload has no valid certificate.
    IdentityUnavailable,
    /// The request came back to the proxy that sent it.
    LoopDetected,
    /// A limit of the proxy is reached.
    Overloaded,
    /// As many connections are open as may be, and as many requests wait.
    ConnectionLimit,
    /// The proxy is stopping.
    Draining,
    /// A bug: the connection's task panicked.
    Internal,
}

impl Reason {
    /// The stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::SlowCaller => "slow_caller",
            Self::RouteNotFound => "route_not_found",
            Self::BackendNotFound => "backend_not_found",
            Self::PortNotFound => "port_not_found",
            Self::NoReadyEndpoint => "no_ready_endpoint",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamClosing => "upstream_closing",
            Self::UpstreamProtocolError => "upstream_protocol_error",
            Self::UpstreamIdentity => "upstream_identity",
            Self::RequestTimeout => "request_timeout",
            Self::AttemptTimeout => "attempt_timeout",
            Self::PolicyDenied => "policy_denied",
            Self::PluginDenied => "plugin_denied",
            Self::PluginError => "plugin_error",
            Self::PluginTimeout => "plugin_timeout",
            Self::PluginUnavailable => "plugin_unavailable",
            Self::PluginQueueFull => "plugin_queue_full",
            Self::BodyTooLarge => "body_too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::EgressDenied => "egress_denied",
            Self::DiscoveryUnavailable => "discovery_unavailable",
            Self::IdentityUnavailable => "identity_unavailable",
            Self::LoopDetected => "loop_detected",
            Self::Overloaded => "overloaded",
            Self::ConnectionLimit => "connection_limit",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that callers get.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::PolicyDenied | Self::PluginDenied | Self::Unauthenticated | Self::EgressDenied => 403,
            Self::RouteNotFound => 404,
            Self::SlowCaller => 408,
            Self::BodyTooLarge => 413,
            Self::HeadTooLarge => 431,
            Self::BackendNotFound | Self::PluginError | Self::Internal => 500,
            Self::UpstreamReset | Self::UpstreamClosing | Self::UpstreamProtocolError | Self::UpstreamIdentity => 502,
            Self::RequestTimeout | Self::AttemptTimeout | Self::PluginTimeout => 504,
            Self::LoopDetected => 508,
            Self::PortNotFound
            | Self::NoReadyEndpoint
            | Self::UpstreamUnreachable
            | Self::DiscoveryUnavailable
            | Self::IdentityUnavailable
            | Self::Overloaded
            | Self::ConnectionLimit
            | Self::PluginUnavailable
            | Self::PluginQueueFull
            | Self::Draining => 503,
        }
    }

    /// The status of gRPC that callers get: that which its own mapping gives to [`Reason::status`], and a more telling one where there is one.
    pub fn grpc_status(self) -> u8 {
        match self {
            Self::RequestTimeout | Self::AttemptTimeout | Self::SlowCaller => 4, // DEADLINE_EXCEEDED
            Self::PolicyDenied | Self::PluginDenied | Self::EgressDenied => 7,                                  // PERMISSION_DENIED
            Self::HeadTooLarge | Self::BodyTooLarge | Self::Overloaded | Self::ConnectionLimit | Self::PluginQueueFull => 8,            // RESOURCE_EXHAUSTED
            Self::RouteNotFound => 12,                                                     // UNIMPLEMENTED
            Self::BadRequest | Self::PluginError | Self::Internal | Self::LoopDetected => 13, // INTERNAL
            Self::Unauthenticated => 16,                                                   // UNAUTHENTICATED
            Self::PortNotFound
            | Self::NoReadyEndpoint
            | Self::UpstreamUnreachable
            | Self::UpstreamReset
            | Self::UpstreamClosing
            | Self::UpstreamProtocolError
            | Self::UpstreamIdentity
            | Self::DiscoveryUnavailable
            | Self::IdentityUnavailable
            // The standard asks for it where the backend of a GRPCRoute cannot serve.
            | Self::BackendNotFound
            | Self::PluginTimeout
            | Self::PluginUnavailable
            | Self::Draining => 14, // UNAVAILABLE
        }
    }

    /// After how many seconds it is worth trying again, where time alone helps.
    pub fn retry_after_seconds(self) -> Option<u32> {
        matches!(self, Self::Overloaded | Self::ConnectionLimit | Self::PluginQueueFull).then_some(1)
    }

    /// Whether another endpoint could do better: the cause lies in the place that was asked, not in the request or the rules.
    pub fn is_of_the_place(self) -> bool {
        match self {
            Self::UpstreamUnreachable
            | Self::UpstreamReset
            | Self::UpstreamClosing
            | Self::UpstreamProtocolError
            | Self::UpstreamIdentity
            | Self::IdentityUnavailable
            | Self::DiscoveryUnavailable
            | Self::PortNotFound
            | Self::Overloaded
            | Self::ConnectionLimit
            | Self::PluginTimeout
            | Self::PluginUnavailable
            | Self::PluginQueueFull
            | Self::Draining
            | Self::Internal => true,
            Self::BadRequest
            | Self::HeadTooLarge
            | Self::SlowCaller
            | Self::RouteNotFound
            | Self::BackendNotFound
            | Self::NoReadyEndpoint
            | Self::RequestTimeout
            | Self::AttemptTimeout
            | Self::PolicyDenied
            | Self::PluginDenied
            | Self::PluginError
            | Self::BodyTooLarge
            | Self::Unauthenticated
            | Self::EgressDenied
            | Self::LoopDetected => false,
        }
    }

    /// The reason of a code, as `plait-reject` carries it.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }

    /// All reasons, for documentation, metrics and tests.
    pub const ALL: [Self; 30] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::SlowCaller,
        Self::RouteNotFound,
        Self::BackendNotFound,
        Self::PortNotFound,
        Self::NoReadyEndpoint,
        Self::UpstreamUnreachable,
        Self::UpstreamReset,
        Self::UpstreamClosing,
        Self::UpstreamProtocolError,
        Self::UpstreamIdentity,
        Self::RequestTimeout,
        Self::AttemptTimeout,
        Self::PolicyDenied,
        Self::PluginDenied,
        Self::PluginError,
        Self::PluginTimeout,
        Self::PluginUnavailable,
        Self::PluginQueueFull,
        Self::BodyTooLarge,
        Self::Unauthenticated,
        Self::EgressDenied,
        Self::DiscoveryUnavailable,
        Self::IdentityUnavailable,
        Self::LoopDetected,
        Self::Overloaded,
        Self::ConnectionLimit,
        Self::Draining,
        Self::Internal,
    ];
}
