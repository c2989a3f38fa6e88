//! A call as a plugin's views read it, and the effects that were made on it so far.
//!
//! Fields are decoded when they are asked for. Effects stand in one list in the order in which they were made, each with its plugin; reading
//! looks through them, so that a plugin sees what the one before it changed, and a failed plugin's effects can be taken out again.

use std::time::Instant;

use plait_frames::{
    CallFrame, EffectTag, Field, PairField, Section, VerdictWriter, check_authority, check_method, check_path, check_query,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};

use crate::{
    headers::{Headers, Interest},
    text::{decode, encode, refused},
};

/// One effect.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) plugin: u8,
    pub(crate) tag: EffectTag,
    /// A name where there is a value, else all there is.
    pub(crate) first: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

#[pyclass(module = "plait_sdk._native")]
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) frame: CallFrame,
    /// The how-manieth call it is of its channel.
    pub(crate) ordinal: u64,
    pub(crate) changes: Vec<Change>,
    pub(crate) answered: bool,
    plugin: u8,
    /// When its first hook was entered.
    entered: Option<Instant>,
}

impl Call {
    pub(crate) fn new(frame: CallFrame, ordinal: u64) -> Self {
        Self { frame, ordinal, changes: Vec::new(), answered: false, plugin: 0, entered: None }
    }

    pub(crate) fn begin(&mut self, plugin: u8) {
        self.plugin = plugin;
        self.entered.get_or_insert_with(Instant::now);
    }

    /// How long its hooks took.
    pub(crate) fn micros(&self) -> u32 {
        self.entered.map_or(0, |entered| u32::try_from(entered.elapsed().as_micros()).unwrap_or(u32::MAX))
    }

    pub(crate) fn change(&mut self, tag: EffectTag, first: &[u8], value: &[u8]) {
        self.changes.push(Change { plugin: self.plugin, tag, first: first.into(), value: value.into() });
    }

    /// Hands the effects to a verdict in the making.
    pub(crate) fn write(&self, writer: &mut VerdictWriter) {
        for change in &self.changes {
            writer.effect(change.plugin, change.tag, &change.first, &change.value);
        }
    }

    /// The last effect of this kind, else the field.
    fn current(&self, tag: EffectTag, field: Field) -> Option<&[u8]> {
        let changed = self.changes.iter().rev().find(|change| change.tag == tag);
        changed.map(|change| &*change.first).or_else(|| self.frame.get(field))
    }

    fn text<'py>(&self, py: Python<'py>, field: Field) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.frame.get(field).map(|bytes| decode(py, bytes)).transpose()
    }

    fn changed_text<'py>(&self, py: Python<'py>, tag: EffectTag, field: Field) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.current(tag, field).map(|bytes| decode(py, bytes)).transpose()
    }

    fn candidates_contain(&self, name: &[u8]) -> bool {
        self.frame.all(Field::Candidate).any(|candidate| candidate == name)
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn id(&self) -> u64 {
        self.frame.id()
    }
    #[getter]
    fn phase(&self) -> u8 {
        self.frame.phase() as u8
    }
    #[getter]
    fn chain(&self) -> u32 {
        self.frame.chain()
    }
    #[getter]
    fn skip(&self) -> u64 {
        self.frame.skip()
    }
    #[getter]
    fn last(&self) -> bool {
        self.frame.is_last()
    }
    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.changed_text(py, EffectTag::Method, Field::Method)
    }
    #[setter]
    fn set_method(&mut self, method: &str) -> PyResult<()> {
        self.change(EffectTag::Method, check_method(method.as_bytes()).map_err(refused)?.as_bytes(), b"");
        Ok(())
    }
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.changed_text(py, EffectTag::Path, Field::Path)
    }
    #[setter]
    fn set_path(&mut self, path: &str) -> PyResult<()> {
        self.change(EffectTag::Path, check_path(path.as_bytes()).map_err(refused)?.as_bytes(), b"");
        Ok(())
    }
    #[getter]
    fn query<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.changed_text(py, EffectTag::Query, Field::Query)
    }
    #[setter]
    fn set_query(&mut self, query: &str) -> PyResult<()> {
        self.change(EffectTag::Query, check_query(query.as_bytes()).map_err(refused)?.as_bytes(), b"");
        Ok(())
    }
    #[getter]
    fn authority<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.changed_text(py, EffectTag::Authority, Field::Authority)
    }
    #[setter]
    fn set_authority(&mut self, authority: &str) -> PyResult<()> {
        self.change(EffectTag::Authority, check_authority(authority.as_bytes()).map_err(refused)?.as_bytes(), b"");
        Ok(())
    }
    #[getter]
    fn status(&self) -> Option<u64> {
        let changed = self.changes.iter().rev().find(|change| change.tag == EffectTag::Status);
        let changed = changed.and_then(|change| (*change.first).try_into().ok()).map(u16::from_le_bytes);
        changed.map(u64::from).or_else(|| self.frame.number(Field::Status))
    }
    #[setter]
    fn set_status(&mut self, status: u16) -> PyResult<()> {
        if !(200..600).contains(&status) {
            return Err(PyValueError::new_err("a status must be 200 to 599"));
        }
        self.change(EffectTag::Status, &status.to_le_bytes(), b"");
        Ok(())
    }
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.current(EffectTag::Body, Field::Body).map(|bytes| PyBytes::new(py, bytes))
    }
    #[setter]
    fn set_body(&mut self, body: &[u8]) {
        self.change(EffectTag::Body, body, b"");
    }
    #[getter]
    fn claims<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.changed_text(py, EffectTag::Claims, Field::Claims)
    }
    #[setter]
    fn set_claims(&mut self, claims: &str) {
        self.change(EffectTag::Claims, claims.as_bytes(), b"");
    }
    #[getter]
    fn scheme<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Scheme)
    }
    #[getter]
    fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Protocol)
    }
    #[getter]
    fn peer_identity<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::PeerIdentity)
    }
    #[getter]
    fn peer_namespace<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::PeerNamespace)
    }
    #[getter]
    fn peer_service_account<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::PeerServiceAccount)
    }
    #[getter]
    fn peer_address<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::PeerAddress)
    }
    #[getter]
    fn workload<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Workload)
    }
    #[getter]
    fn service<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Service)
    }
    #[getter]
    fn route<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Route)
    }
    #[getter]
    fn traceparent<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Traceparent)
    }
    #[getter]
    fn tracestate<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Tracestate)
    }
    #[getter]
    fn request_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::RequestId)
    }
    #[getter]
    fn reason<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text(py, Field::Reason)
    }
    #[getter]
    fn port(&self) -> Option<u64> {
        self.frame.number(Field::Port)
    }
    #[getter]
    fn duration_micros(&self) -> Option<u64> {
        self.frame.number(Field::DurationMicros)
    }
    #[getter]
    fn bytes_in(&self) -> Option<u64> {
        self.frame.number(Field::BytesIn)
    }
    #[getter]
    fn bytes_out(&self) -> Option<u64> {
        self.frame.number(Field::BytesOut)
    }
    #[getter]
    fn attempt(&self) -> Option<u64> {
        self.frame.number(Field::Attempt)
    }
    #[getter]
    fn candidates<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.frame.all(Field::Candidate).map(|name| decode(py, name)).collect()
    }
    fn request_headers(slf: &Bound<'_, Self>, interest: Py<Interest>) -> Headers {
        Headers::new(slf.clone().unbind(), Section::Request, interest)
    }
    fn response_headers(slf: &Bound<'_, Self>, interest: Py<Interest>) -> Headers {
        Headers::new(slf.clone().unbind(), Section::Response, interest)
    }
    fn trailers(slf: &Bound<'_, Self>, interest: Py<Interest>) -> Headers {
        Headers::new(slf.clone().unbind(), Section::Trailers, interest)
    }
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let attributes = PyDict::new(py);
        for (name, value) in self.frame.pairs(PairField::Attribute) {
            attributes.set_item(decode(py, name)?, decode(py, value)?)?;
        }
        for change in self.changes.iter().filter(|change| change.tag == EffectTag::Attribute) {
            attributes.set_item(decode(py, &change.first)?, decode(py, &change.value)?)?;
        }
        Ok(attributes)
    }
    fn set_attribute(&mut self, name: &str, value: &str) {
        self.change(EffectTag::Attribute, name.as_bytes(), value.as_bytes());
    }
    fn set_label(&mut self, name: &str, value: &str) {
        self.change(EffectTag::Label, name.as_bytes(), value.as_bytes());
    }
    fn set_span_attribute(&mut self, name: &str, value: &str) {
        self.change(EffectTag::SpanAttribute, name.as_bytes(), value.as_bytes());
    }
    fn choose(&mut self, backend: &str) -> PyResult<()> {
        if !self.candidates_contain(backend.as_bytes()) {
            return Err(PyValueError::new_err(format!("{backend} is not one of the candidates")));
        }
        self.change(EffectTag::Backend, backend.as_bytes(), b"");
        Ok(())
    }
    fn rank(&mut self, endpoints: Vec<Bound<'_, PyString>>) -> PyResult<()> {
        for endpoint in &endpoints {
            self.change(EffectTag::Endpoint, &encode(endpoint)?, b"");
        }
        Ok(())
    }
    fn set_key(&mut self, key: &str) {
        self.change(EffectTag::Key, key.as_bytes(), b"");
    }
    fn set_retry(&mut self, retry: bool) {
        self.change(EffectTag::Retry, &[u8::from(retry)], b"");
    }
    fn rollback(&mut self) {
        self.changes.retain(|change| change.plugin != self.plugin);
    }
    fn note_error(&mut self, text: &str) {
        self.change(EffectTag::Failure, text.as_bytes(), b"");
    }
}
