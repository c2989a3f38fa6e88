//! Who this proxy is, and who is at the other end of a connection.
