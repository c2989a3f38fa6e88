//! The threads of a running proxy: one or more workers that serve, beside them the control thread for admin, discovery and identity.
//! Called by each form of `run`. Must not know where the configuration comes from.

use std::{process::ExitCode, sync::Arc, time::Duration};

use plait_proxy_core::Shared;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::LocalSet,
};

use super::{RunError, status::say};

/// What is in flight may take this long after SIGTERM. Kubernetes and systemd kill after 30 s too, so a longer limit would be no limit.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The access log's last lines are worth this much, and not more.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// Exit code of an end that connections did not survive.
const CUT_SHORT: u8 = 3;

/// A runtime for one thread.
pub(crate) fn runtime() -> Result<runtime::Runtime, RunError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)
}

/// Starts the workers and waits for the end of the process. To be called on the control runtime.
pub(crate) async fn serve(shared: Arc<Shared>, workers: usize) -> Result<ExitCode, RunError> {
    let mut stop = Stop::new()?;
    let (gone, mut ends) = mpsc::unbounded_channel();
    for number in 0..workers {
        start_worker(shared.clone(), number, workers > 1, Gone(gone.clone()))?;
    }
    tokio::select! {
        _ = ends.recv() => return Err(RunError::WorkerDied),
        () = stop.asked() => {}
    }
    say("stopping: no new connections; what is in flight may end");
    shared.drain.begin();
    let drained = async {
        for _ in 0..workers {
            ends.recv().await;
        }
    };
    let cut = tokio::select! {
        () = drained => None,
        () = stop.asked() => Some("a second signal"),
        () = tokio::time::sleep(DRAIN_LIMIT) => Some("what is in flight did not end within 30 s"),
    };
    shared.telemetry.flush(FLUSH_LIMIT);
    let Some(why) = cut else { return Ok(ExitCode::SUCCESS) };
    say(format_args!("{why}: ending with connections open"));
    Ok(ExitCode::from(CUT_SHORT))
}

fn start_worker(shared: Arc<Shared>, number: usize, share_ports: bool, gone: Gone) -> Result<(), RunError> {
    let runtime = runtime()?;
    let work = move || {
        let _gone = gone;
        runtime.block_on(LocalSet::new().run_until(plait_proxy_core::serve(shared, share_ports)));
    };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(work).map_err(RunError::Runtime)?;
    Ok(())
}

/// Says that a worker's thread ends, however it does, by a panic too.
struct Gone(mpsc::UnboundedSender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(RunError::Runtime);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
