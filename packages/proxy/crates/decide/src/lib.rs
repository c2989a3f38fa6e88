//! plait-decide.
