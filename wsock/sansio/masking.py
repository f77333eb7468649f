"""Picks the C mask or its twin in plain Python, and says which."""

from typing import Final

try:
    from ._masking import PayloadBuffer
    from ._masking import unmask as _unmask

    implementation = "c"
except ImportError:
    from ._masking_python import PayloadBuffer  # type: ignore[assignment]
    from ._masking_python import unmask as _unmask

    implementation = "python"

#: Final: compiled callers then find it without a look into a dict.
unmask: Final = _unmask

__all__ = ["PayloadBuffer", "implementation", "unmask"]
