"""What people are told: the state of their objects, and of the proxies."""
