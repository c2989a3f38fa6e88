//! Numbers for chains: one number means the same plugins in the same order for as long as the process lives, whatever is reloaded meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::Direction;

/// The number of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(pub(crate) u32);

type Key = (Arc<str>, Direction, Vec<Arc<str>>);

/// All chains that were ever numbered.
#[derive(Debug, Default)]
pub(crate) struct Chains(Mutex<HashMap<Key, ChainId>>);

impl Chains {
    pub(crate) fn id(&self, group: &Arc<str>, direction: Direction, plugins: &[Arc<str>]) -> ChainId {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ChainId(u32::try_from(known.len() + 1).unwrap_or(u32::MAX));
        *known.entry((group.clone(), direction, plugins.to_vec())).or_insert(next)
    }
}
