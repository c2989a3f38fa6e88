//! How much a peer may send ahead of its reader on the streams of HTTP/2: much while there are few of them, little when there are many, so that
//! readers that do not read hold no more than a worker can spare. Used by `http2` and `multiplex`, which tell it to the peer; looks at no byte.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::time::Instant;

use crate::http2::{FRAME, SMALL_FRAME, STREAMS};

/// What all streams of a worker that go the same way may hold together, as long as each may hold `LEAST`.
const TOGETHER: usize = 8 << 20;
/// The window of one stream among few: enough for 50 MB a second from a peer that is ten milliseconds away.
const MOST: u32 = 512 << 10;
/// And among many: a frame of the usual size.
const LEAST: u32 = 16 << 10;
/// A window shrinks at once and grows again after this, since each change is a message to the peer and counts with it as one.
const CALM: Duration = Duration::from_secs(10);
/// The window of a connection as a whole: that of all its streams. A smaller one would let those that nobody reads hold back their neighbours.
pub(crate) const CONNECTION: u32 = STREAMS * MOST;

/// What may wait of a stream for a connection whose peer does not read. A proxy reads always, and takes larger frames.
pub(crate) fn unsent(trusted: bool) -> usize {
    if trusted { 4 * FRAME as usize } else { SMALL_FRAME as usize }
}

/// The streams of a worker that go the same way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Rc<Cell<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Streams);

/// What the peer of a connection was told.
#[derive(Debug)]
pub(crate) struct Window {
    streams: Streams,
    told: u32,
    since: Instant,
}

impl Streams {
    /// One more.
    pub(crate) fn one_more(&self) -> Counted {
        self.0.set(self.0.get() + 1);
        Counted(self.clone())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }

    /// The window of each.
    fn window(&self) -> u32 {
        let share = TOGETHER / self.0.get().max(1).next_power_of_two();
        u32::try_from(share).unwrap_or(MOST).clamp(LEAST, MOST)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(Streams(count)) = self;
        count.set(count.get() - 1);
    }
}

impl Window {
    /// For a new connection, whose handshake tells the peer `size`.
    pub(crate) fn new(streams: &Streams) -> Self {
        Self { told: streams.window(), streams: streams.clone(), since: Instant::now() }
    }

    /// What the peer knows.
    pub(crate) fn size(&self) -> u32 {
        self.told
    }

    /// Has `tell` pass on what became of the window, if anything did. It may fail while the peer has not answered the last change.
    pub(crate) fn keep<E>(&mut self, now: impl FnOnce() -> Instant, tell: impl FnOnce(u32) -> Result<(), E>) {
        let wanted = self.streams.window();
        if wanted == self.told {
            return;
        }
        let now = now();
        if wanted > self.told && now.saturating_duration_since(self.since) < CALM {
            return;
        }
        if tell(wanted).is_ok() {
            (self.told, self.since) = (wanted, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn windows_shrink_at_once_and_grow_when_it_has_been_calm() {
        let streams = Streams::default();
        let mut window = Window::new(&streams);
        assert_eq!(window.size(), MOST);
        let told = |window: &mut Window, answered: bool| {
            let mut told = None;
            window.keep(Instant::now, |size| {
                told = Some(size);
                answered.then_some(()).ok_or(())
            });
            told
        };
        let mut open: Vec<_> = (0..16).map(|_| streams.one_more()).collect();
        assert_eq!(told(&mut window, true), None);
        open.push(streams.one_more());
        assert_eq!(told(&mut window, false), Some(MOST / 2), "told, but the peer has not answered what it was told before");
        assert_eq!(told(&mut window, true), Some(MOST / 2));
        assert_eq!(told(&mut window, true), None);
        open.extend((0..10_000).map(|_| streams.one_more()));
        assert_eq!(told(&mut window, true), Some(LEAST));
        open.clear();
        assert_eq!(told(&mut window, true), None, "no sooner than it has been calm");
        tokio::time::advance(CALM).await;
        assert_eq!(told(&mut window, true), Some(MOST));
    }

    #[test]
    fn all_streams_together_hold_no_more_than_they_may() {
        let streams = Streams::default();
        let mut open = Vec::new();
        for count in 1..=2000 {
            open.push(streams.one_more());
            assert!(count * streams.window() as usize <= TOGETHER.max(count * LEAST as usize), "{count}");
        }
    }
}
