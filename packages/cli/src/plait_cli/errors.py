"""Owns the one way in which a verb ends early: a message in the user's words, a hint, an exit code.

Raised anywhere below the verbs; `main` prints it.
"""

DONE = 0
NOT_SO = 1  # the thing asked about is not so: a claim failed
USAGE = 2
UNREACHABLE = 3  # the mesh cannot be reached


class Failure(Exception):
    """Ends the command with `code`; `hint` says what to do next and may be empty."""

    def __init__(self, message: str, hint: str = "", code: int = NOT_SO) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
