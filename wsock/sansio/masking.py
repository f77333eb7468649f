"""Picks the C mask or its twin in plain Python, and says which."""

try:
    from ._masking import PayloadBuffer, unmask

    implementation = "c"
except ImportError:
    from ._masking_python import PayloadBuffer, unmask  # type: ignore[assignment]

    implementation = "python"

__all__ = ["PayloadBuffer", "implementation", "unmask"]
