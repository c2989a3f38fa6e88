//! plait-testkit.
