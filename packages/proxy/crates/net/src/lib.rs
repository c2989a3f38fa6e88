//! plait-net.
