//! Idle connections of HTTP/1.1, by address: those to the process beside us, to plaintext endpoints, and out of the mesh.
//! Learns how long each server keeps an idle connection, and stays under it. One for each worker. Knows nothing of requests; connections to other proxies stand in `mesh::client`.

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use plait_model::{Gate, Map};

use crate::io::{Input, Output};

/// Idle connections kept for one address: more than that were needed at once by a burst that is over.
const PER_ADDRESS: usize = 1024;
/// A connection that was closed sooner says nothing: no server keeps them for so short, but one that restarts closes all.
const SHORTEST: Duration = Duration::from_secs(1);
/// What was learnt is forgotten after this: a server that restarted may keep them longer than it seemed.
const LEARNT: Duration = Duration::from_secs(600);

/// A connection of HTTP/1.1 between requests.
#[derive(Debug)]
struct Idle {
    input: Input,
    output: Output,
    since: Instant,
    until: Instant,
}

/// Where connections go: an address, and who counts them. A connection that one gate counts is of no use to another.
pub(crate) type To<'g> = (SocketAddr, Option<&'g Arc<Gate>>);

/// The same as a key; no gate has the id 0.
type Key = (SocketAddr, u64);

fn key((address, gate): To<'_>) -> Key {
    (address, gate.map_or(0, |gate| gate.id))
}

/// All of one key.
#[derive(Debug, Default)]
struct Site {
    gate: Option<Arc<Gate>>,
    idle: VecDeque<Idle>,
    /// Idle connections are used no longer than this, until then.
    learnt: Option<(Duration, Instant)>,
    /// How long the connection had been idle that was taken last.
    taken_after: Duration,
}

impl Site {
    /// A connection that had been idle for so long was closed by its server.
    fn learn(&mut self, idle_for: Duration, now: Instant) {
        if idle_for < SHORTEST {
            return;
        }
        let limit = self.limit(now).unwrap_or(idle_for).min(idle_for * 3 / 4);
        self.learnt = Some((limit, now + LEARNT));
    }

    fn limit(&self, now: Instant) -> Option<Duration> {
        self.learnt.filter(|(_, until)| *until > now).map(|(limit, _)| limit)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<Map<Key, Site>>);

impl Pool {
    /// One that is still open, the last used first, so that those beyond the need grow old.
    pub(crate) fn take(&self, to: To<'_>, now: Instant) -> Option<(Input, Output)> {
        let mut all = self.0.borrow_mut();
        let site = all.get_mut(&key(to))?;
        while let Some(last) = site.idle.pop_back() {
            let idle_for = now.saturating_duration_since(last.since);
            if !last.input.is_quiet() {
                site.learn(idle_for, now);
            } else if last.until > now {
                site.taken_after = idle_for;
                return Some((last.input, last.output));
            }
        }
        None
    }

    /// Keeps one for later, at most for `allowed`; not when its place is wanted.
    pub(crate) fn put(&self, to: To<'_>, (input, output): (Input, Output), allowed: Duration, now: Instant) {
        if to.1.is_some_and(|gate| gate.is_short()) {
            return;
        }
        let mut all = self.0.borrow_mut();
        let site = all.entry(key(to)).or_insert_with(|| Site { gate: to.1.cloned(), ..Site::default() });
        let until = now + site.limit(now).map_or(allowed, |limit| limit.min(allowed));
        if site.idle.len() < PER_ADDRESS && until > now {
            site.idle.push_back(Idle { input, output, since: now, until });
        }
    }

    /// A request met a connection that was closing: the one taken last of that address.
    pub(crate) fn met_closing(&self, to: To<'_>, now: Instant) {
        if let Some(site) = self.0.borrow_mut().get_mut(&key(to)) {
            site.learn(site.taken_after, now);
        }
    }

    /// Closes an idle connection that the gate counts, so that there is a place for another.
    pub(crate) fn evict(&self, gate: &Gate) {
        let mut all = self.0.borrow_mut();
        let oldest = all.iter_mut().filter(|((_, id), _)| *id == gate.id).find_map(|(_, site)| site.idle.pop_front());
        // Closed when nobody holds the pool any more.
        drop(all);
        drop(oldest);
    }

    /// Closes all whose places are wanted.
    pub(crate) fn give_way(&self) {
        let mut all = self.0.borrow_mut();
        all.values_mut().filter(|site| site.gate.as_ref().is_some_and(|gate| gate.is_short())).for_each(|site| site.idle.clear());
    }

    /// Drops those that are too old or that the other side closed.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, site| {
            let closed = site.idle.iter().filter(|one| one.until > now && !one.input.is_quiet());
            // The youngest tells most: the older ones were closed before, and nobody looked.
            if let Some(idle_for) = closed.map(|one| now.saturating_duration_since(one.since)).min() {
                site.learn(idle_for, now);
            }
            site.idle.retain(|one| one.until > now && one.input.is_quiet());
            !site.idle.is_empty() || site.limit(now).is_some()
        });
    }

    /// Drops all.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::io::{halves, placed_halves};

    /// An open connection, and the server's end of it.
    async fn connection(listener: &TcpListener) -> ((Input, Output), TcpStream) {
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (halves(ours.unwrap()), theirs.unwrap().0)
    }

    async fn closed(pool: &Pool, address: SocketAddr) {
        let is_closed = || pool.0.borrow()[&(address, 0)].idle.iter().all(|one| !one.input.is_quiet());
        while !is_closed() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_server_that_closed_an_idle_connection_is_not_trusted_as_long_again() {
        for by_sweep in [false, true] {
            let (pool, listener) = (Pool::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
            let (address, began, second) = (listener.local_addr().unwrap(), Instant::now(), Duration::from_secs(1));
            let (ours, theirs) = connection(&listener).await;
            pool.put((address, None), ours, 100 * second, began);
            drop(theirs);
            closed(&pool, address).await;
            if by_sweep {
                pool.sweep(began + 8 * second);
            } else {
                assert!(pool.take((address, None), began + 8 * second).is_none());
            }
            let later = began + 20 * second;
            for (idle_for, usable) in [(5 * second, true), (6 * second, false)] {
                let (ours, _theirs) = connection(&listener).await;
                pool.put((address, None), ours, 100 * second, later);
                assert_eq!(pool.take((address, None), later + idle_for).is_some(), usable, "{by_sweep} {idle_for:?}");
            }
            // It may have been a restart: that is forgotten.
            let (ours, _theirs) = connection(&listener).await;
            pool.sweep(began + LEARNT + 8 * second);
            pool.put((address, None), ours, 100 * second, began + LEARNT + 8 * second);
            assert!(pool.take((address, None), began + LEARNT + 98 * second).is_some());
        }
    }

    #[tokio::test]
    async fn a_request_that_met_a_closing_connection_teaches_as_well_unless_all_were_closed_at_once() {
        let second = Duration::from_secs(1);
        for (idle_for, learnt) in [(4 * second, Some(3 * second)), (second / 2, None)] {
            let (pool, listener) = (Pool::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
            let (address, began) = (listener.local_addr().unwrap(), Instant::now());
            let (ours, _theirs) = connection(&listener).await;
            pool.put((address, None), ours, 100 * second, began);
            assert!(pool.take((address, None), began + idle_for).is_some());
            pool.met_closing((address, None), began + idle_for);
            assert_eq!(pool.0.borrow()[&(address, 0)].limit(began + idle_for), learnt);
        }
    }

    #[tokio::test]
    async fn what_is_too_old_is_not_taken_and_what_has_no_time_not_kept() {
        let (pool, listener) = (Pool::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, began, second) = (listener.local_addr().unwrap(), Instant::now(), Duration::from_secs(1));
        for (allowed, idle_for, usable) in
            [(2 * second, second, true), (2 * second, 2 * second, false), (Duration::ZERO, Duration::ZERO, false)]
        {
            let (ours, _theirs) = connection(&listener).await;
            pool.put((address, None), ours, allowed, began);
            assert_eq!(pool.take((address, None), began + idle_for).is_some(), usable, "{allowed:?} {idle_for:?}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_gives_its_place_to_who_needs_it_and_no_other_does() {
        let (listener, now, second) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Instant::now(), Duration::from_secs(1));
        let (pool, address, most) = (Pool::default(), listener.local_addr().unwrap(), std::num::NonZeroU32::new(1));
        let (wanted, other) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        for gate in [&wanted, &other] {
            let place = gate.try_connect(most);
            assert!(place.is_some());
            let (ours, _) = tokio::join!(TcpStream::connect(address), listener.accept());
            let ours = placed_halves(ours.unwrap(), place);
            pool.put((address, Some(gate)), ours, second, now);
            assert!(gate.try_connect(most).is_none());
        }
        // Of this worker's own it takes one; of another's all that are idle when it hears of it.
        pool.evict(&wanted);
        let place = wanted.try_connect(most).unwrap();
        let (ours, _theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        pool.put((address, Some(&wanted)), placed_halves(ours.unwrap(), Some(place)), second, now);
        let waiting = wanted.connect();
        pool.give_way();
        let place = waiting.await;
        assert!(pool.take((address, Some(&wanted)), now).is_none() && pool.take((address, None), now).is_none());
        let _waiting = wanted.connect();
        let (ours, _theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        pool.put((address, Some(&wanted)), placed_halves(ours.unwrap(), Some(place)), second, now);
        assert!(pool.take((address, Some(&wanted)), now).is_none(), "it was wanted when it became idle");
        assert_eq!(other.taken().1, 1);
    }
}
