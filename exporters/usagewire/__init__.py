"""OpenTelemetry exporters that carry product-usage telemetry in the wire formats vendors document.

Nothing is imported here; the few public names load at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usagewire.pipeline import configure, disable, first_run_notice, flush

__all__ = ["__version__", "configure", "disable", "first_run_notice", "flush"]

__version__ = "0.1.0"  # what pyproject.toml reads: asking importlib.metadata takes milliseconds in every program


def __getattr__(name: str) -> Any:
    if name in __all__:
        from usagewire import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
