//! What decides, and nothing else: no I/O; the clock and randomness are arguments. `proxy` calls it for live requests, `explain` for hypothetical ones.

pub mod authorize;
pub mod balance;
pub mod client_hello;
mod cookie;
pub mod deadline;
pub mod detect;
pub mod explain;
pub mod hash;
pub mod health;
pub mod limit;
pub mod outlier;
pub mod retry;
pub mod retry_after;
pub mod rewrite;
pub mod route;
pub mod session;
mod slow_start;
pub mod zone;
