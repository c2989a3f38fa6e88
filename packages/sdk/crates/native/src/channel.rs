//! The worker's end of what a proxy asks it: takes calls, marks which hook is being run, and answers.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plait_frames::{
    CallFrame, EffectTag, Ending, MAX_PLUGINS, Map, Mark, NO_PLUGIN, Outcome, Phase, VerdictWriter, check_header_name, check_header_value,
};
use pyo3::{
    exceptions::{PyEOFError, PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyList, PyString},
};

use crate::{
    call::Call,
    descriptor::{borrowed, owned},
    link::{Link, readable},
    text::{encode, refused},
};

/// A worker's end. Signal handlers come in while another method runs, so that nothing they need stands behind the lock.
#[pyclass(module = "plait_sdk._native", frozen)]
#[derive(Debug)]
pub(crate) struct Channel {
    map: Option<Arc<Map>>,
    wake: Arc<OwnedFd>,
    end: Mutex<End>,
}

/// What only the worker's own thread touches.
#[derive(Debug)]
struct End {
    /// None after `close`.
    link: Option<Link>,
    taken: u64,
    writer: VerdictWriter,
    frame: Vec<u8>,
}

impl Channel {
    pub(crate) fn over_ring(map: Map, wake_worker: OwnedFd, wake_proxy: OwnedFd) -> Self {
        let (map, wake) = (Arc::new(map), Arc::new(wake_worker));
        let link = Link::ring(&map, wake.clone(), wake_proxy);
        Self::new(Some(map), wake, link)
    }

    fn new(map: Option<Arc<Map>>, wake: Arc<OwnedFd>, link: Link) -> Self {
        let end = End { link: Some(link), taken: 0, writer: VerdictWriter::default(), frame: Vec::new() };
        Self { map, wake, end: Mutex::new(end) }
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `call`; `extra` adds to its effects.
    fn answer(&self, call: &Bound<'_, Call>, ending: Ending, extra: impl FnOnce(&mut VerdictWriter)) -> PyResult<()> {
        let mut call = call.borrow_mut();
        if std::mem::replace(&mut call.answered, true) {
            return Err(PyRuntimeError::new_err("the call was answered already"));
        }
        if let Some(map) = &self.map {
            map.clear_mark();
        }
        let mut end = self.end();
        let End { link, writer, frame, .. } = &mut *end;
        writer.clear();
        call.write(writer);
        extra(writer);
        frame.clear();
        let finished = writer.finish(call.frame.id(), Ending { micros: call.micros(), ..ending }, frame);
        finished.map_err(|error| PyValueError::new_err(error.to_string()))?;
        link.as_mut().ok_or_else(closed)?.push(frame).map_err(gone)
    }
}

#[pymethods]
impl Channel {
    #[staticmethod]
    fn ring(memory: i32, ring_bytes: usize, wake_worker: i32, wake_proxy: i32) -> PyResult<Self> {
        let memory = owned(memory)?;
        let (wake_worker, wake_proxy) = (owned(wake_worker)?, owned(wake_proxy)?);
        let map = Map::open(&memory, ring_bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::over_ring(map, wake_worker, wake_proxy))
    }

    #[staticmethod]
    fn stream(socket: i32) -> PyResult<Self> {
        let socket = Arc::new(owned(socket)?);
        Ok(Self::new(None, socket.clone(), Link::stream(socket)))
    }

    fn fileno(&self) -> i32 {
        self.wake.as_raw_fd()
    }

    #[pyo3(signature = (most = 64))]
    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyList>> {
        let mut end = self.end();
        let End { link, taken, .. } = &mut *end;
        let link = link.as_mut().ok_or_else(closed)?;
        link.collect().map_err(gone)?;
        let calls = PyList::empty(py);
        while calls.len() < most {
            let mut frame = Vec::new();
            if !link.next(&mut frame).map_err(|error| PyEOFError::new_err(error.to_string()))? {
                break;
            }
            let frame = CallFrame::parse(frame).map_err(|error| PyEOFError::new_err(error.to_string()))?;
            // What is only taken back is never begun, and counted by neither side.
            *taken += u64::from(frame.phase() != Phase::Cancel);
            calls.append(Bound::new(py, Call::new(frame, *taken))?)?;
        }
        link.release();
        Ok(calls)
    }

    fn arm(&self) -> PyResult<bool> {
        Ok(self.end().link.as_mut().ok_or_else(closed)?.arm())
    }

    #[pyo3(signature = (timeout = None, control = -1))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>, control: i32) -> PyResult<bool> {
        let until = timeout.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let control = (control >= 0).then(|| borrowed(control)).transpose()?;
        loop {
            if !self.arm()? {
                return Ok(true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let descriptors: Vec<_> = std::iter::once(self.wake.as_fd()).chain(control).collect();
            match py.detach(|| readable(&descriptors, left)) {
                Ok(ready) if ready.get(1) == Some(&true) => return Err(PyEOFError::new_err("the proxy is gone")),
                Ok(ready) if ready[0] => return Ok(true),
                Ok(_) if left.is_some() => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(&self, call: &Bound<'_, Call>, plugin: u8) -> PyResult<()> {
        if usize::from(plugin) >= MAX_PLUGINS {
            return Err(PyValueError::new_err("a chain holds at most 64 plugins"));
        }
        let mut call = call.borrow_mut();
        call.begin(plugin);
        if let Some(map) = &self.map {
            map.mark(Mark { id: call.frame.id(), plugin }, call.ordinal);
        }
        Ok(())
    }

    #[pyo3(name = "end")]
    fn end_hook(&self) {
        if let Some(map) = &self.map {
            map.clear_mark();
        }
    }

    fn interrupted(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.interrupted())
    }

    fn proceed(&self, call: &Bound<'_, Call>) -> PyResult<()> {
        self.answer(call, Ending { outcome: Outcome::Continue, plugin: NO_PLUGIN, status: 0, micros: 0 }, |_| ())
    }

    #[pyo3(signature = (call, plugin, status, headers = Vec::new(), body = b"".as_slice()))]
    fn reply(
        &self,
        call: &Bound<'_, Call>,
        plugin: u8,
        status: u16,
        headers: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)>,
        body: &[u8],
    ) -> PyResult<()> {
        check_answer(plugin, status)?;
        let mut pairs = Vec::new();
        for (name, value) in &headers {
            let (name, value) = (name.to_str()?.to_ascii_lowercase(), encode(value)?.into_owned());
            check_header_name(name.as_bytes()).map_err(refused)?;
            check_header_value(&value).map_err(refused)?;
            pairs.push((name, value));
        }
        self.answer(call, Ending { outcome: Outcome::Reply, plugin, status, micros: 0 }, |writer| {
            for (name, value) in &pairs {
                writer.effect(plugin, EffectTag::ReplyHeader, name.as_bytes(), value);
            }
            writer.effect(plugin, EffectTag::Body, body, b"");
        })
    }

    #[pyo3(signature = (call, plugin, reason, status = 403))]
    fn deny(&self, call: &Bound<'_, Call>, plugin: u8, reason: &str, status: u16) -> PyResult<()> {
        check_answer(plugin, status)?;
        self.answer(call, Ending { outcome: Outcome::Deny, plugin, status, micros: 0 }, |writer| {
            writer.effect(plugin, EffectTag::Text, reason.as_bytes(), b"");
        })
    }

    #[pyo3(signature = (call, plugin, text, traceback = ""))]
    fn fail(&self, call: &Bound<'_, Call>, plugin: u8, text: &str, traceback: &str) -> PyResult<()> {
        check_answer(plugin, 500)?;
        self.answer(call, Ending { outcome: Outcome::Error, plugin, status: 0, micros: 0 }, |writer| {
            writer.effect(plugin, EffectTag::Text, text.as_bytes(), b"");
            writer.effect(plugin, EffectTag::Traceback, traceback.as_bytes(), b"");
        })
    }

    fn flush(&self) -> PyResult<()> {
        self.end().link.as_mut().ok_or_else(closed)?.flush().map_err(gone)
    }

    fn close(&self) {
        self.end().link = None;
    }
}

fn check_answer(plugin: u8, status: u16) -> PyResult<()> {
    if usize::from(plugin) >= MAX_PLUGINS {
        return Err(PyValueError::new_err("a chain holds at most 64 plugins"));
    }
    if !(200..600).contains(&status) {
        return Err(PyValueError::new_err("a status must be 200 to 599"));
    }
    Ok(())
}

fn closed() -> PyErr {
    PyValueError::new_err("the channel is closed")
}

fn gone(error: io::Error) -> PyErr {
    PyEOFError::new_err(format!("the proxy is gone: {error}"))
}
