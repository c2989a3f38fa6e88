"""Whether an object may be stored: the reader of `plait lint`, on the one object. Served by `webhooks`."""
