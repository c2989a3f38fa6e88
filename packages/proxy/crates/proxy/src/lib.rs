//! The path of a request, from the listener to the upstream and back. docs/request-line.md follows it with a finger.
//!
//! Called by `app`, one [`serve`] a worker. Whatever decides stands in `plait-decide`; what is known of the mesh comes from `plait-model::World`.

mod answer;
mod attempt;
mod budgets;
mod call;
mod check;
mod connection;
mod desk;
mod exchange;
mod failed;
mod filters;
mod flood;
mod heads;
mod health;
mod hop;
mod http1;
mod http2;
mod in_flight;
mod inbound;
mod io;
mod listener;
mod mesh;
mod mirror;
mod multiplex;
mod onlooker;
mod outbound;
mod patience;
mod plan;
mod pool;
mod pump;
mod queue;
mod redirected;
mod reject;
mod request;
mod sending;
mod shared;
mod sink;
mod source;
mod spoken;
mod tunnel;
mod upstream;
mod verdict;
mod websocket;
mod windows;
mod worker;

pub use filters::chain_id;
pub use shared::{ConnectionInfo, Connections, Drain, Listening, Shared};
pub use spoken::{Heard, Port, Spoken, Undeclared};
pub use worker::serve;
