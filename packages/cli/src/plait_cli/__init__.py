"""The command `plait`: starts a mesh on a laptop and asks a running one questions. `main` is where it begins."""

__version__ = "0.1.0"
