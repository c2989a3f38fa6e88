"""Which pods get a proxy, and the pod that comes out. Pure: a pod in, a pod or a refusal out. Served by `webhooks`."""
