//! What one plugin sees of headers and trailers: what it declared, with the changes of the plugins before it.

use std::borrow::Cow;

use plait_frames::{EffectTag, PairField, Section, check_header_name, check_header_value};
use pyo3::{
    exceptions::{PyKeyError, PyPermissionError},
    prelude::*,
    types::{PyIterator, PyList, PyString},
};

use crate::{
    call::{Call, Change},
    text::{decode, encode, refused},
};

/// The headers that a plugin declared; None means all.
#[pyclass(module = "plait_sdk._native", frozen)]
#[derive(Debug)]
pub(crate) struct Interest {
    reads: Option<Box<[Box<str>]>>,
    writes: Option<Box<[Box<str>]>>,
}

#[pymethods]
impl Interest {
    #[new]
    fn new(reads: Option<&Bound<'_, PyAny>>, writes: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let names = |of: Option<&Bound<'_, PyAny>>| -> PyResult<Option<Box<[Box<str>]>>> {
            let Some(of) = of else { return Ok(None) };
            let names = of.try_iter()?.map(|name| Ok(name?.extract::<String>()?.to_ascii_lowercase().into_boxed_str()));
            names.collect::<PyResult<_>>().map(Some)
        };
        Ok(Self { reads: names(reads)?, writes: names(writes)? })
    }
}

impl Interest {
    fn may_write(&self, name: &str) -> bool {
        self.writes.as_ref().is_none_or(|names| names.iter().any(|declared| **declared == *name))
    }

    fn may_read(&self, name: &str) -> bool {
        // Without writes is not the same as writes all: a plugin that may write anything does not thereby read anything.
        let written = self.writes.as_ref().is_some_and(|names| names.iter().any(|declared| **declared == *name));
        written || self.reads.as_ref().is_none_or(|names| names.iter().any(|declared| **declared == *name))
    }
}

/// A live view, for one plugin.
#[pyclass(module = "plait_sdk._native", frozen)]
#[derive(Debug)]
pub(crate) struct Headers {
    call: Py<Call>,
    section: Section,
    interest: Py<Interest>,
}

impl Headers {
    pub(crate) fn new(call: Py<Call>, section: Section, interest: Py<Interest>) -> Self {
        Self { call, section, interest }
    }

    fn readable<'a>(&self, name: &'a str) -> PyResult<Cow<'a, str>> {
        let name = lower(name);
        if self.interest.get().may_read(&name) {
            return Ok(name);
        }
        Err(PyPermissionError::new_err(format!("header {name} was not declared: add it to the plugin's reads")))
    }

    fn writable<'a>(&self, name: &'a str) -> PyResult<Cow<'a, str>> {
        let name = lower(name);
        check_header_name(name.as_bytes()).map_err(refused)?;
        if self.interest.get().may_write(&name) {
            return Ok(name);
        }
        Err(PyPermissionError::new_err(format!("header {name} was not declared: add it to the plugin's writes")))
    }

    /// What is there of this header now, one call of `each` a value.
    fn values(&self, call: &Call, name: &str, mut each: impl FnMut(&[u8])) {
        let touches = |change: &Change| change.first.as_ref() == name.as_bytes() && self.touches(change);
        let settled = call.changes.iter().rposition(|change| touches(change) && !self.appends(change));
        if settled.is_none() {
            let pairs = call.frame.pairs(PairField::Header(self.section));
            pairs.filter(|(other, _)| *other == name.as_bytes()).for_each(|(_, value)| each(value));
        }
        for change in &call.changes[settled.unwrap_or(0)..] {
            if touches(change) && change.tag != EffectTag::remove(self.section) {
                each(&change.value);
            }
        }
    }

    fn touches(&self, change: &Change) -> bool {
        let section = self.section;
        self.appends(change) || change.tag == EffectTag::set(section) || change.tag == EffectTag::remove(section)
    }

    fn appends(&self, change: &Change) -> bool {
        change.tag == EffectTag::append(self.section)
    }

    /// Each name that the plugin declared and that is there, once, in order.
    fn names(&self, call: &Call) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let changed = call.changes.iter().filter(|change| self.touches(change)).map(|change| &*change.first);
        for name in call.frame.pairs(PairField::Header(self.section)).map(|(name, _)| name).chain(changed) {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if self.interest.get().may_read(name) && !names.iter().any(|seen| seen == name) {
                let mut there = false;
                self.values(call, name, |_| there = true);
                if there {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    /// All values, joined as HTTP joins them.
    fn joined<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let call = self.call.bind(py).borrow();
        let mut found: Option<Vec<u8>> = None;
        self.values(&call, name, |value| match &mut found {
            Some(before) => {
                before.extend_from_slice(b", ");
                before.extend_from_slice(value);
            }
            None => found = Some(value.to_vec()),
        });
        found.map(|value| decode(py, &value)).transpose()
    }

    fn write(&self, py: Python<'_>, tag: EffectTag, name: &str, value: &Bound<'_, PyString>) -> PyResult<()> {
        let name = self.writable(name)?;
        let value = encode(value)?;
        check_header_value(&value).map_err(refused)?;
        self.call.bind(py).borrow_mut().change(tag, name.as_bytes(), &value);
        Ok(())
    }
}

#[pymethods]
impl Headers {
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(&self, py: Python<'py>, name: &str, default: Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.joined(py, &self.readable(name)?)?.or(default))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.joined(py, &self.readable(name)?)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    fn __setitem__(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyString>) -> PyResult<()> {
        self.write(py, EffectTag::set(self.section), name, value)
    }

    fn __delitem__(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let name = self.writable(name)?;
        self.call.bind(py).borrow_mut().change(EffectTag::remove(self.section), name.as_bytes(), b"");
        Ok(())
    }

    fn __contains__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(name) = name.cast::<PyString>() else { return Ok(false) };
        Ok(self.joined(py, &self.readable(name.to_str()?)?)?.is_some())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.names(&self.call.bind(py).borrow()))?.try_iter()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.names(&self.call.bind(py).borrow()).len()
    }

    fn items<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        let call = self.call.bind(py).borrow();
        let mut items = Vec::new();
        for name in self.names(&call) {
            let mut values = Vec::new();
            self.values(&call, &name, |value| values.push(decode(py, value)));
            for value in values {
                items.push((name.clone(), value?));
            }
        }
        Ok(items)
    }

    fn all<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut values = Vec::new();
        self.values(&self.call.bind(py).borrow(), &self.readable(name)?, |value| values.push(decode(py, value)));
        values.into_iter().collect()
    }

    fn append(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyString>) -> PyResult<()> {
        self.write(py, EffectTag::append(self.section), name, value)
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}
