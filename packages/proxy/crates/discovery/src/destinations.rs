//! The destinations that this proxy asks the control plane about, and what has become of each question. No I/O; time is an argument.
//! Owned by `session`. Which answers are in force stands in `Resources`: this says which of them may be.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// "The mesh does not have it" is shown to requests this long; then it must be dialled to be shown again.
pub(crate) const UNKNOWN_SHOWN: Duration = Duration::from_secs(5);
/// A question that nobody waits for any more, or whose answer was "unknown" and that nobody dials, is taken back after this.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// A Service that nobody calls is given up after this.
pub(crate) const UNUSED: Duration = Duration::from_secs(3600);
/// The control plane answers what is asked for anew; to see that, it must have taken note that we had left. It does in milliseconds.
pub(crate) const LEAVING: Duration = Duration::from_secs(1);
/// The control plane ends the stream of a proxy that asks for more.
pub(crate) const MOST: usize = 10_000;
/// Longer ones are no names, and the control plane ends the stream of a proxy that asks for one.
const LONGEST: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No answer yet.
    Asked,
    /// A Service of the mesh.
    Known,
    /// Not of the mesh. While the stream lives the control plane would say when that changes.
    Unknown { shown: bool },
    /// Unsubscribed a moment ago.
    Left { wanted_again: bool },
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    /// When it was dialled last; of a Known one when it was seen to be used, of a Left one when we left.
    at: Instant,
    /// When an Unknown one was shown.
    shown_at: Instant,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Todo {
    /// Ask the control plane.
    pub(crate) subscribe: Vec<String>,
    /// Tell it that these are not needed; none of them is in force any more. Before `subscribe`.
    pub(crate) unsubscribe: Vec<String>,
    /// Show as unknown.
    pub(crate) show: Vec<String>,
    /// No longer in force.
    pub(crate) hide: Vec<String>,
}

/// All destinations.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    entries: HashMap<String, Entry>,
}

impl Destinations {
    /// Destinations in force from before.
    pub(crate) fn held(&mut self, keys: impl Iterator<Item = String>, now: Instant) {
        self.entries.extend(keys.map(|key| (key, Entry { standing: Standing::Known, at: now, shown_at: now })));
    }

    /// What Hello asks for. Nothing of a stream before counts.
    pub(crate) fn begin(&mut self) -> Vec<String> {
        self.entries.retain(|_, entry| entry.standing != Standing::Left { wanted_again: false });
        for entry in self.entries.values_mut().filter(|entry| matches!(entry.standing, Standing::Left { .. })) {
            entry.standing = Standing::Asked;
        }
        self.entries.keys().cloned().collect()
    }

    /// Somebody dials; `live`: the stream is healthy.
    pub(crate) fn demand(&mut self, key: &str, live: bool, now: Instant, todo: &mut Todo) {
        if key.is_empty() || key.len() > LONGEST {
            return;
        }
        let Some(entry) = self.entries.get_mut(key) else {
            if !self.make_room(live, todo) {
                return;
            }
            self.entries.insert(key.to_owned(), Entry { standing: Standing::Asked, at: now, shown_at: now });
            if live {
                todo.subscribe.push(key.to_owned());
            }
            return;
        };
        match &mut entry.standing {
            Standing::Asked | Standing::Known => entry.at = now,
            Standing::Unknown { shown } => {
                entry.at = now;
                if live {
                    *shown = true;
                    entry.shown_at = now;
                    todo.show.push(key.to_owned());
                }
            }
            Standing::Left { wanted_again } => *wanted_again = true,
        }
    }

    /// Whether an answer concerns a question of ours; one to a question that was taken back must not count.
    pub(crate) fn wants(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| !matches!(entry.standing, Standing::Left { .. }))
    }

    /// The control plane answered.
    pub(crate) fn answered(&mut self, keys: &[String], known: bool, now: Instant) {
        for key in keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.standing = if known { Standing::Known } else { Standing::Unknown { shown: true } };
                entry.shown_at = now;
            }
        }
    }

    /// What time brings. `used` says whether a Service was called since it was last asked about. While the control plane is away
    /// ("not live") no Service is given up: nobody could bring it back.
    pub(crate) fn elapse(&mut self, live: bool, now: Instant, used: impl Fn(&str) -> bool, todo: &mut Todo) {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.entries.retain(|key, entry| {
            match &mut entry.standing {
                Standing::Known if used(key) => entry.at = now,
                Standing::Known if live && since(entry.at) >= UNUSED => leave(key, entry, now, todo),
                Standing::Asked | Standing::Unknown { .. } if since(entry.at) >= IDLE => {
                    if !live {
                        todo.hide.push(key.clone());
                        return false;
                    }
                    leave(key, entry, now, todo);
                }
                Standing::Unknown { shown } if *shown && since(entry.shown_at) >= UNKNOWN_SHOWN => {
                    *shown = false;
                    todo.hide.push(key.clone());
                }
                Standing::Left { wanted_again } if since(entry.at) >= LEAVING => {
                    if !*wanted_again {
                        return false;
                    }
                    *entry = Entry { standing: Standing::Asked, at: now, shown_at: now };
                    if live {
                        todo.subscribe.push(key.clone());
                    }
                }
                Standing::Known | Standing::Asked | Standing::Unknown { .. } | Standing::Left { .. } => {}
            }
            true
        });
    }

    /// When `elapse` has something to do next, but for Services: whether they are used must be looked at from time to time.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = |entry: &Entry| match entry.standing {
            Standing::Known => None,
            Standing::Asked | Standing::Unknown { shown: false } => Some(entry.at + IDLE),
            Standing::Unknown { shown: true } => Some((entry.shown_at + UNKNOWN_SHOWN).min(entry.at + IDLE)),
            Standing::Left { .. } => Some(entry.at + LEAVING),
        };
        self.entries.values().filter_map(due).min()
    }

    /// Gives up the question that was idle longest when there are too many; false when all are Services of the mesh.
    fn make_room(&mut self, live: bool, todo: &mut Todo) -> bool {
        if self.entries.len() < MOST {
            return true;
        }
        let spare = self.entries.iter().filter(|(_, entry)| entry.standing != Standing::Known).min_by_key(|(_, entry)| entry.at);
        let Some(key) = spare.map(|(key, _)| key.clone()) else { return false };
        self.entries.remove(&key);
        todo.hide.push(key.clone());
        if live {
            todo.unsubscribe.push(key);
        }
        true
    }
}

fn leave(key: &str, entry: &mut Entry, now: Instant, todo: &mut Todo) {
    *entry = Entry { standing: Standing::Left { wanted_again: false }, at: now, shown_at: now };
    todo.unsubscribe.push(key.to_owned());
    todo.hide.push(key.to_owned());
}
