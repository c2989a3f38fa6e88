//! Who looks on while a tunnel is open: the counters of its connection, and the memory of what is spoken. Told by `pump` as bytes move.
//! Made by `request`; must not change what moves.

use std::rc::Rc;

use plait_telemetry::Connection;

use crate::spoken::{FirstWord, Spoken};

/// Looks on.
#[derive(Debug)]
pub(crate) struct Onlooker {
    counted: Connection,
    first_word: Option<Rc<FirstWord>>,
}

/// Which way bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// From the caller.
    Up,
    /// To the caller.
    Down,
}

impl Onlooker {
    pub(crate) fn new(counted: Connection, first_word: Option<Rc<FirstWord>>) -> Self {
        Self { counted, first_word }
    }

    /// So many bytes moved.
    pub(crate) fn moved(&self, flow: Flow, bytes: u64) {
        match flow {
            Flow::Up => {
                self.counted.sent(bytes);
                self.first_word.iter().for_each(|word| word.client(Spoken::Bytes));
            }
            Flow::Down => {
                self.counted.received(bytes);
                self.first_word.iter().for_each(|word| word.server());
            }
        }
    }
}
