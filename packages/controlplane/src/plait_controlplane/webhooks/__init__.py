"""What the API server calls: injection and validation, over HTTPS. Runs in a process of its own."""
