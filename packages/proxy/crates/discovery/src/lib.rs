//! plait-discovery.
