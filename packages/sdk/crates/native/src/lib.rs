//! `plait_sdk._native`: the pattern engine of the data path for Python, so that the control plane accepts exactly what the proxy compiles, and
//! the worker's end of what a proxy asks plugins.
//!
//! Called by `translate`, by the SDK's host and by its test harness. It knows frames, rings and the kernel's limits; which hook runs when is
//! the host's business, in Python. `_native.pyi` is the contract of everything here.

mod call;
mod channel;
mod descriptor;
mod headers;
mod link;
mod loopback;
mod sandbox;
mod text;

use plait_rules::Pattern;
use pyo3::{
    exceptions::{PyProcessLookupError, PyValueError},
    prelude::*,
};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Compiles `source` as the proxy does; raises ValueError with the reason when it is refused.
#[pyfunction]
fn check_pattern(source: &str) -> PyResult<()> {
    Pattern::new(source).map(drop).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The kernel kills this process when its parent ends; raises ProcessLookupError when it has ended already.
#[pyfunction]
fn die_with_parent(parent: i32) -> PyResult<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    // The parent may have ended before the kernel was told.
    if getppid().map(Pid::as_raw_pid) == Some(parent) { Ok(()) } else { Err(PyProcessLookupError::new_err("the parent has ended")) }
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<call::Call>()?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<headers::Headers>()?;
    module.add_class::<headers::Interest>()?;
    module.add_class::<loopback::Loopback>()?;
    module.add_class::<loopback::SeenVerdict>()?;
    module.add_function(wrap_pyfunction!(check_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(die_with_parent, module)?)?;
    module.add_function(wrap_pyfunction!(sandbox::sandbox, module)?)
}
