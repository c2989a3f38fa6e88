"""Generated; see `packages/sdk/proto`."""
