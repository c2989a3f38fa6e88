"""The control plane of Plait: reads the user's objects and translates them into what proxies are told."""
