//! A mesh under attack: a neighbour that calls before and during it, an attacker on a thread of its own, and the books before and after.

use std::{
    net::SocketAddr,
    pin::Pin,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use plait_testkit::{Peer, Stage, Way, until};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    attacker::{Attacker, Door, End, Target},
    measure::{Peak, descriptors, run_time},
};

/// More than a flood may leave in memory at any time: both proxies, the attacker and the neighbour are in this process.
pub(crate) const MEMORY: usize = 24 << 20;
/// Who attacks for sure is sent away within this, also where others compile beside us.
pub(crate) const PROMPTLY: Duration = Duration::from_secs(1);
/// Calls of the neighbour in each measurement.
const CALLS: usize = 300;
/// The neighbour's p99 may be so many times that of before,
pub(crate) const SLOWER: u32 = 2;
/// and this much more, which is noise of a machine with two cores that also attacks.
pub(crate) const NOISE: Duration = Duration::from_millis(15);

/// Scenes in which the neighbour may be slowed down by something else.
const SCENES: usize = 3;

static ALONE: OnceLock<Mutex<()>> = OnceLock::new();

/// Memory, time and descriptors are those of the process: one scene at a time.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.get_or_init(Mutex::default).lock().await
}

/// Lets this process open as many descriptors as thousands of connections need, each with both ends here.
pub(crate) fn many_descriptors() {
    let (process, most) = (format!("--pid={}", std::process::id()), "--nofile=16384:");
    assert!(Command::new("prlimit").args([&*process, most]).status().unwrap().success());
}

/// An attack, told in one connection.
pub(crate) type Attack = fn(Attacker) -> Pin<Box<dyn Future<Output = End> + Send>>;

/// A mesh that answers.
pub(crate) async fn stage() -> Stage {
    stage_of(Way::Pair).await
}

/// The same, with calls that travel that way.
pub(crate) async fn stage_of(way: Way) -> Stage {
    let stage = Stage::new(way).await;
    stage.origin("reviews-1").answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    // What is made at first use is no leak.
    calls(stage.outbound.address, 20).await;
    stage
}

/// The p99 of so many calls, one after another.
pub(crate) async fn calls(place: SocketAddr, count: usize) -> Duration {
    let mut caller = Peer::connect(place).await;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        assert_eq!(caller.response().await.text(), "ok");
        took.push(began.elapsed());
    }
    took.sort();
    took[count * 99 / 100]
}

/// Runs `work` beside the test, whose own thread serves the origin.
pub(crate) async fn on_a_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Attacks a door `times` times while a neighbour calls, who must hardly notice; gives how each connection ended.
pub(crate) async fn attack(name: &str, door: Door, times: usize, attack: Attack) -> Vec<End> {
    let mut slower = Vec::new();
    // Others compile on the same cores and slow the neighbour down as well; an attack that does it does it each time.
    for _ in 0..SCENES {
        let (ends, before, during) = endure(name, door, times, attack).await;
        if during <= before * SLOWER + NOISE {
            return ends;
        }
        slower.push((before, during));
    }
    panic!("{name} {door:?}: the neighbour's p99 before and during it: {slower:?}");
}

/// As above, with the neighbour's p99 before and during it.
pub(crate) async fn endure(name: &str, door: Door, times: usize, attack: Attack) -> (Vec<End>, Duration, Duration) {
    let _alone = alone().await;
    let stage = stage().await;
    let (held, place, target) = (descriptors(), stage.outbound.address, Target::of(&stage, door));
    let before = calls(place, CALLS).await;
    let (peak, spent) = (Peak::watch(), run_time("proxy"));
    let attacking = on_a_thread(async move {
        let mut ends = Vec::new();
        for _ in 0..times {
            ends.push(attack(Attacker::connect(&target, &[]).await).await);
        }
        ends
    });
    let (ends, during) = tokio::join!(attacking, on_a_thread(calls(place, CALLS)));
    let (growth, spent) = (peak.growth(), run_time("proxy") - spent);
    println!("{name} {door:?}: {ends:?}, p99 {before:?} -> {during:?}, +{} KB, CPU {spent:?}", growth / 1024);
    assert!(growth < MEMORY, "{name} {door:?}: {growth} bytes more at the peak");
    nothing_is_left(&stage, held).await;
    (ends, before, during)
}

/// Descriptors are as before, no panic happened, and a drain finds nothing under way.
pub(crate) async fn nothing_is_left(stage: &Stage, held: usize) {
    let proxies: Vec<_> = [Some(&stage.web), stage.far.as_ref()].into_iter().flatten().collect();
    for proxy in &proxies {
        assert_eq!(proxy.metric("plait_panics_total", &[]), 0.0);
        proxy.drain();
    }
    for proxy in &proxies {
        proxy.is_drained().await;
    }
    for proxy in &proxies {
        assert_eq!(proxy.shared.connections.list().len(), 0);
    }
    until("descriptors are given back", || (descriptors() <= held).then_some(())).await;
}
