//! What the proxy knows of itself: where its configuration came from, what it waits for and what is wrong, in people's words.
//! Each thing is said once on stderr and kept for `/ready` while it lasts. Written by whoever waits; decides nothing.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where the configuration in force came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A file that is not followed.
    Static,
}

/// What a note is about; one note each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Roots of the mesh.
    Trust,
    /// Ports that cannot be listened on.
    Listeners,
}

/// What the proxy says about itself.
#[derive(Debug)]
pub(crate) struct Status {
    source: Mutex<Source>,
    notes: Mutex<BTreeMap<Topic, String>>,
}

impl Status {
    pub(crate) fn new(source: Source) -> Self {
        Self { source: Mutex::new(source), notes: Mutex::default() }
    }

    pub(crate) fn source(&self) -> Source {
        *lock(&self.source)
    }

    /// Something is not as it should be; said when it is news.
    pub(crate) fn trouble(&self, topic: Topic, text: impl Display) {
        let text = text.to_string();
        let mut notes = lock(&self.notes);
        if notes.get(&topic) != Some(&text) {
            say(&text);
            notes.insert(topic, text);
        }
    }

    /// It is well again; said when it was not.
    pub(crate) fn well(&self, topic: Topic, text: impl Display) {
        if lock(&self.notes).remove(&topic).is_some() {
            say(text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line for people, on stderr.
pub(crate) fn say(text: impl Display) {
    eprintln!("{text}");
}
