"""The CA: who a workload is. Runs in a process of its own, the signer, which alone reads the root key."""
