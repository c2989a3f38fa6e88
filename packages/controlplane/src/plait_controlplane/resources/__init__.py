"""The user's objects as typed values, and the world they make. Pure: no I/O, nothing of ours below it."""
