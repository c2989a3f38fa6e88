"""The config line's server: one stream a proxy over mutual TLS, each told what concerns it and nothing else."""
