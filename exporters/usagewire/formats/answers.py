"""What an HTTP answer means where a format's document says nothing of its own."""

from __future__ import annotations

from usagewire.signals import Delivered, Rejected, Request, Response, Retry, Verdict

LONGEST_WAIT = 300.0
"""Seconds; whatever a server asks for beyond that is cut."""


def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
    """2xx has arrived; 408, 429, 5xx and no answer at all are tried again; anything else is rejected."""
    status = response.status
    if status is None:
        return Retry(response.error or "no answer")
    if 200 <= status < 300:
        return Delivered()
    if status in (408, 429) or status >= 500:
        return Retry(f"HTTP {status}", retry_after(response))
    return Rejected(f"HTTP {status}: check the endpoint, {request.url}")


def retry_after(response: Response) -> float | None:
    """Seconds the server asks for, as a number or as a date against its own clock; ``None`` where it does not."""
    wish = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(int(wish)) if wish.isdigit() else _date(wish) - _date(response.headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _date(value: str) -> float:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(value).timestamp()
