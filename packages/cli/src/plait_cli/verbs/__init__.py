"""The verbs of `plait`, one file each; `main` puts them together."""
