"""Which proxies must know what. Pure functions over immutable values."""
