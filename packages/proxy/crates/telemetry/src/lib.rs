//! What happened, counted and written down.
