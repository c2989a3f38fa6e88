//! What a call costs: `cargo run --release -p plait-plugins --example cost [SECONDS]`, with PLAIT_TEST_PYTHON or the checkout's .venv.
//!
//! Prints CPU microseconds a call of both processes together, and how long calls took, with 1, 8 and 32 in flight.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use plait_plugins::{
    Chain, ChainSpec, Direction, Field, GroupSpec, Host, HostSettings, OnFailure, Outcome, Phase, PluginSpec, SandboxSpec, Section,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(Duration::from_secs_f64(seconds)))
}

async fn run(time: Duration) -> Result<(), Failure> {
    let scratch = std::env::temp_dir().join(format!("plait-cost-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("PLAIT_TEST_PYTHON").map_or(here.join("../../../../.venv/bin/python"), PathBuf::from);
    let mut settings = HostSettings::new(python, scratch.clone());
    settings.log = |record| eprintln!("{}", record.text);
    println!(
        "{:<12} {:>9} {:>12} {:>10} {:>10} {:>9} {:>9}",
        "plugin", "in flight", "calls/s", "proxy us", "worker us", "p50 us", "p99 us"
    );
    for entry in ["scripted:Tags", "scripted:TagsLater"] {
        let host = Host::new(settings.clone());
        let channel = host.channel();
        let group = "cost".into();
        let id = host.chain_id(&group, Direction::Inbound, &["cost/tags".into()]);
        let chains = vec![ChainSpec { id, direction: Direction::Inbound, plugins: vec!["cost/tags".into()] }];
        host.apply(vec![GroupSpec {
            name: group,
            plugins: vec![plugin(here, entry)],
            chains,
            sandbox: SandboxSpec::default(),
            memory_bytes: 1 << 28,
        }]);
        let Ok(chain) = channel.wait("cost", id).await else { return Err(format!("not loaded: {:?}", host.states().borrow()).into()) };
        let chain = Rc::new(chain);
        load(&chain, 8, time / 10).await;
        for in_flight in [1, 8, 32] {
            let (before, worker) = (cpu(std::process::id())?, worker_of(std::process::id())?);
            let worker_before = cpu(worker)?;
            let mut took = load(&chain, in_flight, time).await;
            took.sort_unstable();
            let calls = took.len().max(1);
            let us = |ticks: u64| ticks as f64 / 1e3 / calls as f64;
            let at = |part: usize| took.get(calls * part / 100).map_or(0, |time| time.as_micros());
            let (ours, theirs) = (us(cpu(std::process::id())? - before), us(cpu(worker)? - worker_before));
            let rate = calls as f64 / time.as_secs_f64();
            println!(
                "{:<12} {in_flight:>9} {rate:>12.0} {ours:>10.2} {theirs:>10.2} {:>9} {:>9}",
                entry.trim_start_matches("scripted:"),
                at(50),
                at(99)
            );
        }
        host.stop().await;
    }
    std::fs::remove_dir_all(scratch)?;
    Ok(())
}

fn plugin(here: &Path, entry: &str) -> PluginSpec {
    PluginSpec {
        name: "cost/tags".into(),
        package: String::new(),
        version: String::new(),
        entry: entry.to_owned(),
        path: vec![here.join("tests/plugins")],
        config: serde_json::json!({}),
        deadline: Duration::from_secs(1),
        on_error: OnFailure::Closed,
        on_timeout: OnFailure::Closed,
        on_load_failure: OnFailure::Closed,
    }
}

/// So many callers, each with one call in flight, for so long: how long each call took.
async fn load(chain: &Rc<Chain>, in_flight: usize, time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let callers = (0..in_flight).map(|_| {
        let chain = chain.clone();
        tokio::task::spawn_local(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                let call = chain.call(Phase::Request, |writer| {
                    writer.header(Section::Request, "x-user", b"alice");
                    writer.header(Section::Request, "accept-language", b"en-GB,en;q=0.9");
                    writer.text(Field::Path, "/api/v1/tenants/42");
                });
                if call.verdict().await.outcome == Outcome::Continue {
                    took.push(began.elapsed());
                }
            }
            took
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap_or_default());
    }
    all
}

/// Nanoseconds of CPU that a process used.
fn cpu(process: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|used| used.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The only grandchild: our child is the zygote.
fn worker_of(process: u32) -> Result<u32, Failure> {
    let child = |process: u32| -> Option<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let children = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.collect::<String>().split_whitespace().next()?.parse().ok()
    };
    child(process).and_then(child).ok_or_else(|| "no worker".into())
}
