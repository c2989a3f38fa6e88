//! One generation of a group: the process that imported its plugins, and the workers forked from it. Dropped, all of them are killed.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::Stdio,
    rc::Rc,
    sync::Arc,
};

use plait_frames::Map;
use rustix::event::{EventfdFlags, eventfd};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{
    BodyInterest, GroupSpec, HostSettings, LogRecord,
    control::{self, pair},
    group::{Said, ToGroup},
    link::WorkerEnds,
    load::{FromPython, Load, Memory, ToZygote},
    log::Log,
    supervisor::Loaded,
};

/// A ring for heads alone, which stays in the cache.
const HEADS: usize = 256 << 10;
/// A ring for bodies.
const BODIES: usize = 2 << 20;
/// What a library prints is cut here.
const LONGEST_LINE: u64 = 8 << 10;

/// A generation.
#[derive(Debug)]
pub(crate) struct Zygote {
    pub(crate) generation: u64,
    pub(crate) spec: Arc<GroupSpec>,
    pub(crate) loaded: Option<Arc<Loaded>>,
    pub(crate) workers: HashMap<u64, Worker>,
    control: Rc<OwnedWriteHalf>,
    inbox: mpsc::UnboundedSender<ToGroup>,
    scratch: PathBuf,
    readers: Vec<JoinHandle<()>>,
    _child: Child,
}

/// A forked worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The I/O thread that it serves.
    pub(crate) channel: usize,
    /// It is sandboxed and takes calls.
    pub(crate) ready: bool,
    /// It was handed over.
    pub(crate) serving: bool,
    pid: Option<i32>,
    map: Option<Arc<Map>>,
    wakes: Option<(OwnedFd, OwnedFd)>,
    process: Option<Arc<OwnedFd>>,
    reader: JoinHandle<()>,
}

impl Worker {
    /// Its share of memory: what it has alone, and its part of what it shares with the zygote.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid?)).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }

    /// Its process was told of.
    pub(crate) fn is_known(&self) -> bool {
        self.process.is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(process) = &self.process {
            let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

impl Zygote {
    /// Starts the process and tells it what to load.
    pub(crate) async fn start(
        settings: &HostSettings,
        spec: Arc<GroupSpec>,
        generation: u64,
        (inbox, log): (&mpsc::UnboundedSender<ToGroup>, &Rc<Log>),
    ) -> io::Result<Self> {
        let scratch = settings.scratch.join(format!("{}-{generation}", spec.name.replace('/', "-")));
        std::fs::create_dir_all(&scratch)?;
        let (ours, theirs) = pair()?;
        let (printed, printer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = command(settings, &scratch, theirs, printer)?.spawn()?;
        let (heard, control) = ours.into_split();
        let group = spec.name.clone();
        let printing = tokio::task::spawn_local(print(log.clone(), group, pipe::Receiver::from_owned_fd(printed)?));
        let to_inbox = inbox.clone();
        let hearing = tokio::task::spawn_local(hear(heard, move |said| to_inbox.send(ToGroup::Zygote { generation, said }).is_ok()));
        let zygote = Self {
            generation,
            spec,
            loaded: None,
            workers: HashMap::new(),
            control: Rc::new(control),
            inbox: inbox.clone(),
            scratch,
            readers: vec![printing, hearing],
            _child: child,
        };
        let load = ToZygote::Load(Box::new(Load::new(&zygote.spec, generation, &zygote.scratch)));
        control::send(&zygote.control, &load, &[]).await?;
        Ok(zygote)
    }

    /// Asks for a worker for one I/O thread.
    pub(crate) async fn fork(&mut self, worker: u64, channel: usize) -> io::Result<()> {
        let ring_bytes = if self.has_bodies() { BODIES } else { HEADS };
        let (map, memory) = Map::create(ring_bytes).map_err(io::Error::other)?;
        let wake = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (wake_worker, wake_proxy) = (wake()?, wake()?);
        let (ours, theirs) = pair()?;
        let message = ToZygote::Fork { worker, memory: Memory { ring_bytes }, transport: "ring" };
        let descriptors = [memory.as_fd(), wake_worker.as_fd(), wake_proxy.as_fd(), theirs.as_fd()];
        control::send(&self.control, &message, &descriptors).await?;
        let (heard, held) = ours.into_split();
        let (inbox, generation) = (self.inbox.clone(), self.generation);
        let reader = tokio::task::spawn_local(async move {
            // Its end stays open for as long as the worker is wanted: the worker ends when it closes.
            let _held = held;
            hear(heard, move |said| inbox.send(ToGroup::Worker { generation, worker, said }).is_ok()).await;
        });
        let made = Worker {
            channel,
            ready: false,
            serving: false,
            pid: None,
            map: Some(Arc::new(map)),
            wakes: Some((wake_worker, wake_proxy)),
            process: None,
            reader,
        };
        self.workers.insert(worker, made);
        Ok(())
    }

    /// The worker's process is known.
    pub(crate) fn forked(&mut self, worker: u64, pid: i32) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&worker) else { return Ok(()) };
        worker.pid = Some(pid);
        let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        worker.process = Some(Arc::new(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?));
        Ok(())
    }

    /// What an I/O thread needs of a worker that is ready; once.
    pub(crate) fn hand_over(&mut self, worker: u64) -> Option<(usize, Box<WorkerEnds>)> {
        let loaded = self.loaded.clone()?;
        let one = self.workers.get_mut(&worker).filter(|one| one.ready && !one.serving)?;
        let process = one.process.clone()?;
        let (map, (wake_worker, wake_proxy)) = (one.map.take()?, one.wakes.take()?);
        one.serving = true;
        Some((one.channel, Box::new(WorkerEnds { worker, loaded, map, wake_worker, wake_proxy, process })))
    }

    fn has_bodies(&self) -> bool {
        let chains = self.loaded.iter().flat_map(|loaded| loaded.chains.values());
        chains.into_iter().any(|chain| chain.interest.body != BodyInterest::None || chain.interest.response_body != BodyInterest::None)
    }
}

fn command(settings: &HostSettings, scratch: &std::path::Path, control: OwnedFd, printer: OwnedFd) -> io::Result<Command> {
    let mut command = Command::new(&settings.python);
    match &settings.arguments {
        Some(arguments) => command.args(arguments),
        None => command.args(["-I", "-m", "plait_sdk.host", "--control", "0"]),
    };
    // Nothing of the proxy's own: its environment may hold secrets.
    command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    for name in ["PATH", "LANG", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.current_dir(scratch).kill_on_drop(true);
    command.stdin(Stdio::from(control)).stdout(Stdio::from(printer.try_clone()?)).stderr(Stdio::from(printer));
    Ok(command)
}

/// Passes on what a process says until it says no more.
async fn hear(mut control: OwnedReadHalf, pass: impl Fn(Said) -> bool) {
    loop {
        let said = match control::receive(&mut control).await {
            Ok(message) => Said::Message(Box::new(message)),
            Err(error) => Said::Gone(error.to_string()),
        };
        let gone = matches!(said, Said::Gone(_));
        if !pass(said) || gone {
            return;
        }
    }
}

/// What the interpreter and libraries print, by line.
async fn print(log: Rc<Log>, group: Arc<str>, printed: pipe::Receiver) {
    let mut printed = BufReader::new(printed);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut printed).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.write(&LogRecord { group: group.clone(), plugin: None, level: "info".to_owned(), text });
            }
        }
    }
}

/// A log message as a record.
pub(crate) fn record(group: &Arc<str>, message: &FromPython) -> Option<LogRecord> {
    let FromPython::Log { plugin, level, text } = message else { return None };
    Some(LogRecord { group: group.clone(), plugin: plugin.as_deref().map(Arc::from), level: level.clone(), text: text.clone() })
}
