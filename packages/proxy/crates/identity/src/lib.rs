//! plait-identity.
