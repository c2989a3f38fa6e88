//! plait-http1.
