//! How many connections may be open to a port of a Service or of a process, and who waits for one. The state outlives snapshots and is shared
//! by all workers. Asked by `proxy` before a request takes a connection to itself, and before one is dialled. Knows no socket and no clock.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ObjectRef;

/// Places where nobody set a limit: more than there are ports, and a semaphore holds them on every machine.
const UNLIMITED: u32 = 1 << 28;

/// Ids are never used again in this process, since pools are found by them.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// `connections.max` and `maxPending`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// Connections at a time.
    pub most: NonZeroU32,
    /// Requests that may wait for one.
    pub pending: u32,
    /// The policy that set `most`.
    pub object: Option<ObjectRef>,
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// The connections to one place. A request first gets the right to use one, in the order of arrival; only a use that finds no idle connection
/// dials, and a dial needs a place for the connection, which it keeps while idle. Uses and connections have the same limit: whoever may use
/// one and finds no place for it knows that an idle one holds it.
#[derive(Debug)]
pub struct Gate {
    /// Unique in this process: tells its connections from those of others to the same address.
    pub id: u64,
    uses: Arc<Places>,
    connections: Arc<Places>,
    pending: AtomicU32,
    short: AtomicU32,
}

impl Default for Gate {
    fn default() -> Self {
        let (uses, connections) = (Arc::default(), Arc::default());
        Self { id: NEXT_ID.fetch_add(1, SeqCst), uses, connections, pending: AtomicU32::new(0), short: AtomicU32::new(0) }
    }
}

/// One of the places, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, it is free for others"]
pub struct Place {
    of: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// The right to use a connection, if nobody is before.
    pub fn try_use(&self, limit: &ConnectionLimit) -> Option<Place> {
        self.uses.resize(limit.most.get());
        self.uses.try_take()
    }

    /// The right to use a connection, when it is this one's turn. Dropped, it leaves the queue.
    pub async fn wait_for_use(&self, limit: &ConnectionLimit) -> Result<Place, Crowded> {
        let _waiting = Counted::below(&self.pending, limit.pending).ok_or(Crowded)?;
        Ok(self.uses.take().await)
    }

    /// A place for one more connection, if there is one.
    pub fn try_connect(&self, most: Option<NonZeroU32>) -> Option<Place> {
        self.connections.resize(most.map_or(UNLIMITED, NonZeroU32::get));
        self.connections.try_take()
    }

    /// A place for one more connection, when another is closed. Meanwhile [`Gate::is_short`].
    pub fn connect(&self) -> impl Future<Output = Place> {
        let short = Counted::below(&self.short, u32::MAX);
        async move {
            let _short = short;
            self.connections.take().await
        }
    }

    /// Whether somebody waits for the place of an idle connection.
    pub fn is_short(&self) -> bool {
        self.short.load(SeqCst) > 0
    }

    /// Requests that wait.
    pub fn pending(&self) -> u32 {
        self.pending.load(SeqCst)
    }

    /// Rights in use and connections open, for tests and people.
    pub fn taken(&self) -> (u32, u32) {
        (self.uses.taken(), self.connections.taken())
    }
}

/// Places of which each is taken once; those who wait are served in turn.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    most: AtomicU32,
    /// Taken beyond a limit that was lowered: so many are not free again when they are given back.
    surplus: AtomicU32,
    resizing: Mutex<()>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(UNLIMITED as usize)),
            most: AtomicU32::new(UNLIMITED),
            surplus: AtomicU32::new(0),
            resizing: Mutex::default(),
        }
    }
}

impl Places {
    fn resize(&self, most: u32) {
        let most = most.min(UNLIMITED);
        if self.most.load(SeqCst) == most {
            return;
        }
        let _alone = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.most.swap(most, SeqCst);
        if most < before {
            let forgotten = self.free.forget_permits((before - most) as usize) as u32;
            self.surplus.fetch_add(before - most - forgotten, SeqCst);
        } else {
            let more = most - before;
            let surplus = self.surplus.update(SeqCst, SeqCst, |surplus| surplus.saturating_sub(more));
            self.free.add_permits(more.saturating_sub(surplus) as usize);
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Place { of: self.clone(), permit: Some(permit) })
    }

    async fn take(self: &Arc<Self>) -> Place {
        let permit = self.free.clone().acquire_owned().await.expect("it is never closed");
        Place { of: self.clone(), permit: Some(permit) }
    }

    fn taken(&self) -> u32 {
        self.most.load(SeqCst) + self.surplus.load(SeqCst) - self.free.available_permits() as u32
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        if self.of.surplus.try_update(SeqCst, SeqCst, |surplus| surplus.checked_sub(1)).is_ok() {
            permit.forget();
        }
    }
}

/// Counted until it is dropped.
struct Counted<'c>(&'c AtomicU32);

impl<'c> Counted<'c> {
    fn below(count: &'c AtomicU32, most: u32) -> Option<Self> {
        count.try_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).ok().map(|_| Self(count))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn limit(most: u32, pending: u32) -> ConnectionLimit {
        ConnectionLimit { most: NonZeroU32::new(most).unwrap(), pending, object: None }
    }

    fn poll<F: Future>(waiting: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match waiting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_came_first_is_served_first_and_who_left_is_skipped() {
        let (gate, limit) = (Gate::default(), limit(1, 3));
        let held = gate.try_use(&limit).unwrap();
        assert!(gate.try_use(&limit).is_none());
        let (mut second, mut third) = (pin!(gate.wait_for_use(&limit)), pin!(gate.wait_for_use(&limit)));
        let mut left = Box::pin(gate.wait_for_use(&limit));
        assert!(poll(left.as_mut()).is_none());
        assert!(poll(second.as_mut()).is_none() && poll(third.as_mut()).is_none());
        assert_eq!(gate.pending(), 3);
        assert_eq!(poll(pin!(gate.wait_for_use(&limit))).unwrap().unwrap_err(), Crowded);
        drop(left);
        assert_eq!((gate.pending(), gate.taken()), (2, (1, 0)));
        drop(held);
        assert!(gate.try_use(&limit).is_none(), "it belongs to the next in turn, asked or not");
        assert!(poll(third.as_mut()).is_none());
        let next = poll(second.as_mut()).unwrap().unwrap();
        assert_eq!(gate.pending(), 1);
        drop(next);
        drop(poll(third.as_mut()).unwrap().unwrap());
        assert_eq!((gate.pending(), gate.taken()), (0, (0, 0)));
    }

    #[test]
    fn a_place_that_was_given_to_one_who_left_goes_to_the_next() {
        let (gate, limit) = (Gate::default(), limit(1, 2));
        let held = gate.try_use(&limit).unwrap();
        let (mut first, mut second) = (Box::pin(gate.wait_for_use(&limit)), pin!(gate.wait_for_use(&limit)));
        assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none());
        drop(held);
        drop(first);
        assert!(poll(second.as_mut()).is_some());
    }

    #[test]
    fn a_limit_may_change_while_places_are_taken() {
        let gate = Gate::default();
        let mut held: Vec<_> = (0..4).map(|_| gate.try_use(&limit(4, 0)).unwrap()).collect();
        assert!(gate.try_use(&limit(2, 0)).is_none());
        assert_eq!(gate.taken().0, 4);
        held.truncate(2);
        assert!(gate.try_use(&limit(2, 0)).is_none(), "two are still there");
        held.pop();
        held.push(gate.try_use(&limit(2, 0)).unwrap());
        assert!(gate.try_use(&limit(1, 0)).is_none());
        held.push(gate.try_use(&limit(3, 0)).unwrap());
        assert!(gate.try_use(&limit(3, 0)).is_none());
        drop(held);
        assert_eq!(gate.taken().0, 0);
        assert!((0..3).map(|_| gate.try_use(&limit(3, 0))).collect::<Vec<_>>().iter().all(Option::is_some));
    }

    #[test]
    fn connections_are_counted_before_there_is_a_limit() {
        let (gate, limit) = (Gate::default(), limit(2, 0));
        let mut open = vec![gate.try_connect(None).unwrap(), gate.try_connect(None).unwrap()];
        assert!(gate.try_connect(Some(limit.most)).is_none());
        assert!(!gate.is_short());
        let mut waiting = Box::pin(gate.connect());
        assert!(gate.is_short() && poll(waiting.as_mut()).is_none());
        open.pop();
        let place = poll(waiting.as_mut()).unwrap();
        assert_eq!((gate.is_short(), gate.taken()), (false, (0, 2)));
        drop((place, open));
        assert!(gate.try_connect(None).is_some());
    }
}
