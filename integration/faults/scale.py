"""How much load a test makes. Chosen in conftest by the options of pytest."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`seconds(part)`: that part of the whole time of a fault."""

    rate: int
    requests: int
    seed: int
    full: bool

    @property
    def timeout_seconds(self) -> float:
        """Of requests, where a fault needs one. A short set runs beside other tests, and must not notice their load."""
        return 1.0 if self.full else 4.0

    def seconds(self, part: float) -> float:
        return self.requests / self.rate * part
