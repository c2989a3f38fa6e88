"""The bookshop: a small real application, its mesh, a load on it, and the claims that `plait demo --check` verifies."""
