//! What the proxy and a plugin worker say to each other: the layout of a call and of a verdict, and the shared memory that carries them.
//!
//! Used by `plait-plugins` (the proxy's side) and by the SDK's extension (the worker's side). No Python, no sockets, no clock.
//! Each side takes the other for a stranger: bytes are copied out of the shared memory first and checked afterwards, so that whatever the other
//! side writes, and whenever, is an error here and never a panic or a read beyond its bounds.

mod call;
mod effect;
mod map;
mod phase;
mod ring;
mod split;
mod syntax;
mod table;
mod verdict;

pub use call::{CallFrame, CallWriter, Field, Pair, PairField, readdress};
pub use effect::{Effect, EffectTag, Section};
pub use map::{Map, MapError, Mark};
pub use phase::Phase;
pub use ring::{Consumer, Direction, Producer, PushError, RingBroken};
pub use split::Splitter;
pub use syntax::{check_authority, check_header_name, check_header_value, check_method, check_path, check_query};
pub use table::{FrameError, MAX_FRAME, TooLarge};
pub use verdict::{Ending, NO_PLUGIN, Outcome, Verdict, VerdictWriter};

/// Who may be named in `skip` and in a mark: a chain holds no more plugins than this.
pub const MAX_PLUGINS: usize = 64;
