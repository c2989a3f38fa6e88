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
    /// What the control plane said before this process began.
    LastKnownGood,
    /// The control plane.
    Live,
}

/// What a note is about; one note each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Our certificate.
    Identity,
    /// The stream to the control plane.
    ControlPlane,
    /// The file of last known good.
    Kept,
    /// Roots of the mesh.
    Trust,
    /// Ports that cannot be listened on.
    Listeners,
    /// The port of `/metrics`.
    Metrics,
}

/// Said so many different things about one topic, the proxy falls silent until it is well again.
const MOST_SAID: usize = 8;

/// What the proxy says about itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    source: Mutex<Option<Source>>,
    /// What is wrong now, last, and what was said of it since it was well.
    notes: Mutex<BTreeMap<Topic, Vec<String>>>,
}

impl Status {
    /// `None` = there is no configuration.
    pub(crate) fn source(&self) -> Option<Source> {
        *lock(&self.source)
    }

    pub(crate) fn set_source(&self, source: Source) {
        *lock(&self.source) = Some(source);
    }

    /// Something is not as it should be; said when it is news.
    pub(crate) fn trouble(&self, topic: Topic, text: impl Display) {
        if self.note(topic, text.to_string()) {
            say(text);
        }
    }

    /// It is well again; said when it was not.
    pub(crate) fn well(&self, topic: Topic, text: impl Display) {
        if lock(&self.notes).remove(&topic).is_some() {
            say(text);
        }
    }

    /// What is wrong now.
    pub(crate) fn noted(&self, topic: Topic) -> Option<String> {
        lock(&self.notes).get(&topic).and_then(|said| said.last()).cloned()
    }

    /// True when it is news.
    fn note(&self, topic: Topic, text: String) -> bool {
        let mut notes = lock(&self.notes);
        let said = notes.entry(topic).or_default();
        if let Some(at) = said.iter().position(|earlier| *earlier == text) {
            let again = said.remove(at);
            said.push(again);
            return false;
        }
        let news = said.len() < MOST_SAID;
        if !news {
            said.pop();
        }
        said.push(text);
        news
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line for people, on stderr.
pub(crate) fn say(text: impl Display) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once_until_it_is_well_again() {
        let status = Status::default();
        let news = |text: &str| status.note(Topic::Identity, text.to_owned());
        assert!(news("refused"));
        assert!(!news("refused"));
        assert!(news("timed out"));
        assert!(!news("refused"), "it comes and goes");
        assert_eq!(status.noted(Topic::Identity).as_deref(), Some("refused"));
        assert_eq!(status.noted(Topic::ControlPlane), None);
        status.well(Topic::Identity, "well");
        assert_eq!(status.noted(Topic::Identity), None);
        assert!(status.note(Topic::Identity, "refused".to_owned()));
    }

    #[test]
    fn what_never_repeats_itself_is_not_said_forever() {
        let status = Status::default();
        let said = (0..1000).filter(|number| status.note(Topic::Identity, format!("attempt {number}"))).count();
        assert_eq!(said, MOST_SAID);
        assert_eq!(status.noted(Topic::Identity).as_deref(), Some("attempt 999"), "but it can be asked for");
    }
}
