"""The control plane's API: what people and `plait` ask. Reads, and makes join tokens; it changes nothing else."""
