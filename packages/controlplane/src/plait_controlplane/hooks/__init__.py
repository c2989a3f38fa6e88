"""Plugins of the control plane: which there are, the process that runs them, and what the others ask of it."""
