"""What a cluster gets: the objects, written by pure functions, and how they are put there. Called by the verbs."""
