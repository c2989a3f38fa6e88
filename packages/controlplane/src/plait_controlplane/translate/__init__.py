"""From the user's objects to contract messages. Pure functions over immutable values.

The only place where meaning is given to objects.
"""
