"""The settings as variables, so that ``opentelemetry-instrument`` offers each as an option of its command line.

Every name here comes from the one table in `usagewire.config`.
"""

from __future__ import annotations

from usagewire import config, formats

globals().update(
    {
        config.variable(known, row): config.variable(known, row)
        for known in map(formats.load, formats.BUILT_IN)
        for row in config.rows(known)
    }
)
