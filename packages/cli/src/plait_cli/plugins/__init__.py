"""What `plait plugin` does: one file a verb, called by `verbs/plugin.py`."""
