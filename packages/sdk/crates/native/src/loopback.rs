//! The proxy's end in the same process, so that tests of plugins run the dispatch and the frames of production.

use std::{os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use plait_frames::{CallWriter, Consumer, Direction, Effect, Field, Map, Outcome, Phase, Producer, Section, Verdict};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};
use rustix::event::{EventfdFlags, eventfd};

use crate::{channel::Channel, text::encode};

type Pairs<'py> = Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>;

/// The proxy's end.
#[pyclass(module = "plait_sdk._native")]
#[derive(Debug)]
pub(crate) struct Loopback {
    map: Arc<Map>,
    calls: Producer,
    verdicts: Consumer,
    wake_worker: OwnedFd,
    channel: Option<Channel>,
    writer: CallWriter,
    asked: u64,
}

#[pymethods]
impl Loopback {
    #[new]
    #[pyo3(signature = (ring_bytes = 262_144))]
    fn new(ring_bytes: usize) -> PyResult<Self> {
        let (map, memory) = Map::create(ring_bytes).map_err(invalid)?;
        let theirs = Map::open(&memory, ring_bytes).map_err(invalid)?;
        let wake = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from);
        let (wake_worker, wake_proxy) = (wake()?, wake()?);
        let channel = Channel::over_ring(theirs, wake_worker.try_clone()?, wake_proxy);
        let map = Arc::new(map);
        Ok(Self {
            calls: Producer::new(map.clone(), Direction::Calls),
            verdicts: Consumer::new(map.clone(), Direction::Verdicts),
            map,
            wake_worker,
            channel: Some(channel),
            writer: CallWriter::default(),
            asked: 0,
        })
    }

    fn channel(&mut self) -> PyResult<Channel> {
        self.channel.take().ok_or_else(|| PyRuntimeError::new_err("the channel was taken already"))
    }

    #[pyo3(signature = (phase, chain, fields, *, request_headers = Vec::new(), response_headers = Vec::new(), trailers = Vec::new(), attributes = Vec::new(), skip = 0, last = false))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn call(
        &mut self,
        phase: u8,
        chain: u32,
        fields: &Bound<'_, PyDict>,
        request_headers: Pairs<'_>,
        response_headers: Pairs<'_>,
        trailers: Pairs<'_>,
        attributes: Pairs<'_>,
        skip: u64,
        last: bool,
    ) -> PyResult<u64> {
        self.writer.clear();
        for (name, value) in fields {
            write_field(&mut self.writer, name.cast::<PyString>()?.to_str()?, &value)?;
        }
        let sections = [(Section::Request, request_headers), (Section::Response, response_headers), (Section::Trailers, trailers)];
        for (section, pairs) in sections {
            for (name, value) in &pairs {
                self.writer.header(section, &name.to_str()?.to_ascii_lowercase(), &encode(value)?);
            }
        }
        for (name, value) in &attributes {
            self.writer.attribute(name.to_str()?, value.to_str()?);
        }
        if last {
            self.writer.last();
        }
        let phase = Phase::from_number(phase).ok_or_else(|| PyValueError::new_err("no such phase"))?;
        self.asked += 1;
        let id = 1 << 32 | self.asked;
        self.send(id, phase, chain, skip)?;
        Ok(id)
    }

    fn cancel(&mut self, id: u64) -> PyResult<()> {
        self.writer.clear();
        self.send(id, Phase::Cancel, 0, 0)
    }

    fn interrupt(&self, id: u64) {
        self.map.interrupt(id);
    }

    fn verdicts(&mut self) -> PyResult<Vec<SeenVerdict>> {
        let (mut seen, mut frame) = (Vec::new(), Vec::new());
        while self.verdicts.next(&mut frame).map_err(invalid)? {
            seen.push(SeenVerdict(Verdict::parse(Bytes::copy_from_slice(&frame)).map_err(invalid)?));
        }
        self.verdicts.release();
        Ok(seen)
    }
}

impl Loopback {
    fn send(&mut self, id: u64, phase: Phase, chain: u32, skip: u64) -> PyResult<()> {
        let mut frame = Vec::new();
        self.writer.finish(id, phase, chain, skip, &mut frame).map_err(invalid)?;
        self.calls.push(&frame).map_err(invalid)?;
        if self.calls.publish() {
            rustix::io::write(&self.wake_worker, &1u64.to_ne_bytes()).map_err(std::io::Error::from)?;
        }
        Ok(())
    }
}

/// What a worker answered.
#[pyclass(module = "plait_sdk._native", name = "Verdict", frozen)]
#[derive(Debug)]
pub(crate) struct SeenVerdict(Verdict);

#[pymethods]
impl SeenVerdict {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id()
    }
    #[getter]
    fn outcome(&self) -> &'static str {
        match self.0.outcome() {
            Outcome::Continue => "continue",
            Outcome::Reply => "reply",
            Outcome::Deny => "deny",
            Outcome::Error => "error",
        }
    }
    #[getter]
    fn plugin(&self) -> Option<u8> {
        self.0.plugin()
    }
    #[getter]
    fn status(&self) -> u16 {
        self.0.status()
    }
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.body().map(|body| PyBytes::new(py, &body))
    }
    #[getter]
    fn text(&self) -> Option<&str> {
        self.0.text()
    }
    #[getter]
    fn effects(&self) -> Vec<(u8, &'static str, String, String)> {
        self.0.effects().map(|(plugin, effect)| spelt(plugin, effect)).collect()
    }
}

fn spelt(plugin: u8, effect: Effect<'_>) -> (u8, &'static str, String, String) {
    let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (name, first, value) = match effect {
        Effect::Plugin(_) => ("plugin", String::new(), String::new()),
        Effect::SetHeader { section, name, value } => {
            (["set_request_header", "set_response_header", "set_trailer"][section as usize], name.to_owned(), bytes(value))
        }
        Effect::AppendHeader { section, name, value } => {
            (["append_request_header", "append_response_header", "append_trailer"][section as usize], name.to_owned(), bytes(value))
        }
        Effect::RemoveHeader { section, name } => {
            (["remove_request_header", "remove_response_header", "remove_trailer"][section as usize], name.to_owned(), String::new())
        }
        Effect::Method(text) => ("method", text.to_owned(), String::new()),
        Effect::Path(text) => ("path", text.to_owned(), String::new()),
        Effect::Query(text) => ("query", text.to_owned(), String::new()),
        Effect::Authority(text) => ("authority", text.to_owned(), String::new()),
        Effect::Status(status) => ("status", status.to_string(), String::new()),
        Effect::Body(body) => ("body", bytes(body), String::new()),
        Effect::Claims(text) => ("claims", text.to_owned(), String::new()),
        Effect::Backend(text) => ("backend", text.to_owned(), String::new()),
        Effect::Endpoint(text) => ("endpoint", text.to_owned(), String::new()),
        Effect::Key(text) => ("key", text.to_owned(), String::new()),
        Effect::Retry(again) => ("retry", again.to_string(), String::new()),
        Effect::Label(name, value) => ("label", name.to_owned(), value.to_owned()),
        Effect::Attribute(name, value) => ("attribute", name.to_owned(), value.to_owned()),
        Effect::SpanAttribute(name, value) => ("span_attribute", name.to_owned(), value.to_owned()),
        Effect::Failure(text) => ("failure", text.to_owned(), String::new()),
        Effect::ReplyHeader(name, value) => ("reply_header", name.to_owned(), bytes(value)),
        Effect::Text(text) => ("text", text.to_owned(), String::new()),
        Effect::Traceback(text) => ("traceback", text.to_owned(), String::new()),
    };
    (plugin, name, first, value)
}

const TEXTS: [(&str, Field); 19] = [
    ("method", Field::Method),
    ("path", Field::Path),
    ("query", Field::Query),
    ("authority", Field::Authority),
    ("scheme", Field::Scheme),
    ("protocol", Field::Protocol),
    ("peer_identity", Field::PeerIdentity),
    ("peer_namespace", Field::PeerNamespace),
    ("peer_service_account", Field::PeerServiceAccount),
    ("peer_address", Field::PeerAddress),
    ("workload", Field::Workload),
    ("service", Field::Service),
    ("route", Field::Route),
    ("traceparent", Field::Traceparent),
    ("tracestate", Field::Tracestate),
    ("request_id", Field::RequestId),
    ("reason", Field::Reason),
    ("claims", Field::Claims),
    ("candidates", Field::Candidate),
];
const NUMBERS: [(&str, Field); 6] = [
    ("port", Field::Port),
    ("status", Field::Status),
    ("duration_micros", Field::DurationMicros),
    ("bytes_in", Field::BytesIn),
    ("bytes_out", Field::BytesOut),
    ("attempt", Field::Attempt),
];

fn write_field(writer: &mut CallWriter, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let of = |table: &[(&str, Field)]| table.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
    if name == "body" {
        writer.bytes(Field::Body, value.extract::<&[u8]>()?);
    } else if let Some(field) = of(&NUMBERS) {
        writer.number(field, value.extract()?);
    } else if name == "candidates" {
        for candidate in value.extract::<Vec<String>>()? {
            writer.text(Field::Candidate, &candidate);
        }
    } else if let Some(field) = of(&TEXTS) {
        writer.bytes(field, &encode(value.cast::<PyString>()?)?);
    } else {
        return Err(PyValueError::new_err(format!("a call has no field {name}")));
    }
    Ok(())
}

fn invalid(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
