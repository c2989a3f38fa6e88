//! What a fault of a plugin costs: `cargo run -p plait-plugins --example faults [TIMES]`, with PLAIT_TEST_PYTHON or the checkout's .venv.
//!
//! For each fault, with a deadline of 50 ms and 32 good calls behind the bad one: when the bad one was answered, when the first good one was,
//! and how many of the good ones were served. Medians, in milliseconds.
#![allow(clippy::unwrap_used)] // a measurement, not a part of the proxy

use std::time::{Duration, Instant};

use support::{Rig, call, header, on_a_thread, refused, scripted};

#[path = "../tests/support/mod.rs"]
mod support;

const BEHIND: usize = 32;

fn main() {
    let times = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    println!("{:<10} {:>14} {:>12} {:>10} {:>8}  last refusal of a good one", "fault", "answered ms", "next ms", "served", "cause");
    on_a_thread(async || {
        for act in ["raise", "loop", "backtrack", "sleep", "hang", "crash", "exit", "scribble"] {
            fault(act, times).await;
        }
    });
}

async fn fault(act: &str, times: usize) {
    let (mut answered, mut next, mut served, mut cause, mut lost) = (Vec::new(), Vec::new(), 0, "served", "");
    for _ in 0..times {
        // A rig each time: faults in a row would open the breaker, and pause before the next worker.
        let mut plugin = scripted("a/bad");
        plugin.deadline = Duration::from_millis(50);
        let rig = Rig::new(vec![plugin]);
        let chain = rig.wait().await.unwrap();
        for _ in 0..50 {
            call(&chain, "/", "").verdict().await;
        }
        let began = Instant::now();
        let bad = call(&chain, "/", act);
        let behind: Vec<_> = (0..BEHIND).map(|_| tokio::task::spawn_local(call(&chain, "/", "").verdict())).collect();
        let verdict = bad.verdict().await;
        answered.push(began.elapsed());
        cause = refused(&verdict).map_or("served", |(_, cause)| cause.name());
        for (at, one) in behind.into_iter().enumerate() {
            let verdict = one.await.unwrap();
            served += usize::from(header(&verdict, "x-seen").is_some());
            if let Some((_, cause)) = refused(&verdict) {
                lost = cause.name();
            }
            if at == 0 {
                next.push(began.elapsed());
            }
        }
        rig.host.stop().await;
    }
    println!(
        "{act:<10} {:>14.2} {:>12.2} {:>10} {cause:>8}  {lost}",
        median(answered),
        median(next),
        format!("{served}/{}", BEHIND * times)
    );
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
