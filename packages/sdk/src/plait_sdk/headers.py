"""Owns headers as an author sees them: a mapping that ignores case and reads lazily.

Made by the views in `types`. What a plugin did not declare is refused below, by the interest of its scope; here that
refusal becomes an error with a hint.
"""

from collections.abc import Iterator, MutableMapping
from typing import NoReturn

from plait_sdk.calls import Fields
from plait_sdk.scope import Scope


class Headers(MutableMapping[str, str]):
    """Headers by name, in any case. Several values of a name are joined with ", "; `all` gives them one by one.

    Reading or changing what was not declared raises UndeclaredError; a value that holds CR, LF or NUL raises
    ValueError. Changes are seen by the plugins that follow, and by the backend or the caller.
    """

    __slots__ = ("_argument", "_fields", "_scope")

    def __init__(self, fields: Fields, scope: Scope, argument: str = "headers") -> None:
        self._fields = fields
        self._scope = scope
        self._argument = argument

    def all(self, name: str) -> list[str]:
        """All values of a name, in order; empty when it is absent."""
        name = name.lower()
        try:
            return self._fields.all(name)
        except PermissionError:
            self._refuse_read(name)

    def add(self, name: str, value: str) -> None:
        """Adds a value beside those that are there."""
        name = name.lower()
        try:
            self._fields.append(name, value)
        except PermissionError as error:
            self._refuse_write(name, error)

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        name = name.lower()
        try:
            self._fields[name] = value
        except PermissionError as error:
            self._refuse_write(name, error)

    def __delitem__(self, name: str) -> None:
        name = name.lower()
        try:
            if not self._fields.all(name):
                raise KeyError(name)
        except PermissionError:
            pass  # one that may write anything, but not read it, may still remove it
        try:
            del self._fields[name]
        except PermissionError as error:
            self._refuse_write(name, error)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._fields.items()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.all(name))

    def __repr__(self) -> str:
        return f"Headers({self._fields.items()!r})"

    def _refuse_read(self, name: str) -> NoReturn:
        self._scope.refuse_read(f'the header "{name}"', f'{self._argument}={{"{name}"}}')

    def _refuse_write(self, name: str, error: PermissionError) -> NoReturn:
        writable = self._scope.write_response_headers if "response" in self._argument else self._scope.write_headers
        if (
            writable is None or name in writable
        ):  # declared, but no plugin's to write: framing, or a name of Plait's own
            raise error
        self._scope.refuse_write(f'the header "{name}"', f'{self._argument}={{"{name}"}}')
