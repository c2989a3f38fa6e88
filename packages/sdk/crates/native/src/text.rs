//! Bytes of messages as Python's text and back. What is not UTF-8 passes both ways by surrogates, as everywhere in Python.

use std::borrow::Cow;

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyString},
};

use plait_frames::FrameError;

/// Text of `bytes`.
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogateescape")),
    }
}

/// Bytes of `text`.
pub(crate) fn encode<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = text.to_str() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    Ok(Cow::Owned(text.call_method1("encode", ("utf-8", "surrogateescape"))?.extract::<Vec<u8>>()?))
}

/// What is wrong with a value, at the line that gave it.
pub(crate) fn refused(error: FrameError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
