//! plait-telemetry.
