//! `plait_sdk._native`: the pattern engine of the data path for Python, so that the control plane accepts exactly what the proxy compiles.
//! Called by `translate`; holds no logic of its own.

use plait_rules::Pattern;
use pyo3::{exceptions::PyValueError, prelude::*};

/// Compiles `source` as the proxy does; raises ValueError with the reason when it is refused.
#[pyfunction]
fn check_pattern(source: &str) -> PyResult<()> {
    Pattern::new(source).map(drop).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_pattern, module)?)
}
