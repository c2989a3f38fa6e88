//! plait-proxy-core.
