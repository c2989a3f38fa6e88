//! The moments in the life of a request, of a connection and of a worker at which plugins are asked.

/// When plugins are asked; the number on the wire is fixed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// The head of a request.
    Request = 1,
    /// A piece of a request's body, or the whole of it where a plugin asked for that.
    RequestBody = 2,
    /// The head of an answer.
    Response = 3,
    /// A piece of an answer's body.
    ResponseBody = 4,
    /// Trailers of either.
    Trailers = 5,
    /// A request has ended, however it did.
    Complete = 6,
    /// A connection whose bytes are not looked into.
    Connect = 7,
    /// Bytes of such a connection.
    Data = 8,
    /// It has ended.
    Disconnect = 9,
    /// A record of the access log.
    Log = 10,
    /// Now and then, for figures of the plugin's own.
    Tick = 11,
    /// A request failed and could be tried again.
    Retry = 12,
    /// Endpoints to be put in order.
    Endpoints = 13,
    /// The proxy no longer waits for the call of this id.
    Cancel = 255,
}

impl Phase {
    /// All phases that are calls.
    pub const CALLS: [Self; 13] = [
        Self::Request,
        Self::RequestBody,
        Self::Response,
        Self::ResponseBody,
        Self::Trailers,
        Self::Complete,
        Self::Connect,
        Self::Data,
        Self::Disconnect,
        Self::Log,
        Self::Tick,
        Self::Retry,
        Self::Endpoints,
    ];

    /// The phase of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        if number == Self::Cancel as u8 {
            return Some(Self::Cancel);
        }
        Self::CALLS.into_iter().find(|phase| *phase as u8 == number)
    }

    /// Its name, as a worker reports the phases that it wants and as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::RequestBody => "request_body",
            Self::Response => "response",
            Self::ResponseBody => "response_body",
            Self::Trailers => "trailers",
            Self::Complete => "complete",
            Self::Connect => "connect",
            Self::Data => "data",
            Self::Disconnect => "disconnect",
            Self::Log => "log",
            Self::Tick => "tick",
            Self::Retry => "retry",
            Self::Endpoints => "endpoints",
            Self::Cancel => "cancel",
        }
    }

    /// The phase of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::CALLS.into_iter().find(|phase| phase.name() == name)
    }
}
