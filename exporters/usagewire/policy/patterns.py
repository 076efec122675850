"""What gives a person, a machine or a secret away in a text, and the marker that takes its place.

Every pattern is linear in the length of the text: each can begin only where a word begins, or at a rare character.
"""

from __future__ import annotations

import ipaddress
import re

_NOBODY = frozenset({"root", "localhost"})
"""Names that name nobody."""
_NEVER = re.compile(r"(?!)")

# -- texts that are exempt as a whole ---------------------------------------------------------------------------------

_VERSION = re.compile(r"(?:[0-9]+:)?v?[0-9]{1,8}(?:[.+~_-][0-9A-Za-z]{1,40})*|[0-9a-f]{7,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{32,128}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# -- what is looked for ----------------------------------------------------------------------------------------------

_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*)://([^\s/?#\"'<>\\]*)([^\s\"'<>]*)")
_LOCAL = r"[^\s@/\\:;,=<>()\[\]\"]"
_MAIL = re.compile(  # but neither `image@sha256:…` nor `package@1.2.3`
    rf"(?<!{_LOCAL})(?:mailto:)?({_LOCAL}+:)?{_LOCAL}+@(?!sha[0-9]+:|v?[0-9]+\.[0-9]+\.[0-9]+(?:[-+]|(?![\w.])))"
    r"((?:[\w-]+\.)*[\w-]*[^\W\d_][\w-]*|(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9A-Fa-f:.]+\])"
)
_QUAD = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IPV4 = re.compile(  # `Chrome/120.0.0.0` is a version
    rf"(?<![\w.])(?!(?<=[A-Za-z]/)[0-9]+\.0\.0\.0(?![\w.]))(?:{_QUAD}\.){{3}}{_QUAD}(?!\w|\.[0-9])"
)
_IPV6 = re.compile(
    rf"(?<![\w.])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:(?:{_QUAD}\.){{3}}{_QUAD}|[0-9A-Fa-f]{{1,4}})?(?:%[\w.-]+)?(?![\w:])"
)
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])")
_IN_USE = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2000::/3", "fc00::/7", "fe80::/10", "ff00::/8", "::1/128", "::ffff:0:0/96", "64:ff9b::/96")
)
"""A short address such as ``a::b`` may as well be the name of a class: it counts only where addresses are given out."""

_BEFORE_PATH = r"(?:(?<![\w./\\])|(?<=-[A-Za-z]))"
_PATH_WORD = r"[^\s\"'<>|]"
_PATH_REST = rf"(?:{_PATH_WORD}|[ ](?=(?![/\\]){_PATH_WORD}+?[/\\]))*"
_PATH = re.compile(
    rf"{_BEFORE_PATH}(?:"
    r"(?:/+(?:mnt/[a-z]|private|var|export|usr))?/+(?:home|Users)/+[^\s/]"
    r"|/+(?:root|run/user|dev/shm|(?:private/+)?(?:var/+)?(?:tmp|folders))/+"
    r"|~[\w.-]*[/\\]"
    r"|(?i:[a-z]:[\\/]+(?:users|documents and settings)[\\/]+[^\\/:*?\"<>|\r\n]+)"
    r"|(?i:[a-z]:[\\/]+(?:windows[\\/]+)?te?mp[\\/]+|%(?:userprofile|appdata|localappdata|te?mp|homepath)%)"
    r"|\\\\[\w.$-]+\\"
    rf"){_PATH_REST}"
)
_PATH_LIKE = re.compile(r"(?<!\S)[^\s/\\@]*[/\\@]\S*")

_CARD = re.compile(r"(?<![\w.+/-])[2-6][0-9]{3}(?:[ -]?[0-9]){10,15}(?![\w-]|\.[0-9])")
_CARDS = re.compile(  # a number of nineteen digits is usually a time, and those begin with 1
    r"3(?:0[0-5]|[689][0-9])[0-9]{11}|3[47][0-9]{13}|(?:2[2-7]|4[0-9]|5[0-8]|35|6[0-9])[0-9]{14}(?:[0-9]{3})?"
)
_PHONE = re.compile(  # international; American; German: a number that says so, not any number
    r"(?<![\w.+/-])(?:"
    r"\+[1-9](?:[ ./()-]{0,2}[0-9]){9,14}"
    r"|00[1-9][0-9]{0,2}[ /-](?:[ ./()-]{0,2}[0-9]){8,12}"
    r"|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}-)[0-9]{3}-[0-9]{4}"
    r"|\(?0[1-9][0-9]{1,3}\)?[ /][0-9]{7,8}"
    r")(?![\w-]|\.[0-9])"
)

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"
    r"|[sprw]k[-_](?=[\w-]{,99}[0-9])[\w-]{16,}"
    r"|(?:gh[a-z]|github_pat|hf|npm)_\w{16,}|(?:glpat|pypi|xox[a-z])-[\w-]{10,}"
    r"|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r")"
)
_BEARER = re.compile(r"(?i)(?<![A-Za-z0-9])(bearer|basic)\s+(?=\S*[0-9=])[\w.~+/=-]{8,}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?<!sha1:)(?<!sha256:)(?<!sha512:)[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_RANDOM = re.compile(r"(?<![\w-])[A-Za-z0-9_-]{24,}")
_TURN = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")
_KEYED = re.compile(r"(?<![\w.-])([\w.-]+)=([^&\s;#\"'\[]+)")
_SECRET = re.compile(r"(?i)token|secret|passw|pwd|key|auth|signature|^sig$|credential|session|^code$")


class Scrubber:
    """Knows this machine's names; they are found inside paths and URLs even where nothing else gives them away."""

    def __init__(self, user: str, host: str, home: str) -> None:
        kinds = {"user": _names(user), "host": _names(host, host.partition(".")[0])}
        choices = [f"(?P<{kind}>{'|'.join(names)})" for kind, names in kinds.items() if names]
        named = rf"(?i)(?<![A-Za-z0-9\[])(?:{'|'.join(choices)})(?![A-Za-z0-9])"
        self._named = re.compile(named) if choices else _NEVER
        home = home.rstrip("/\\")
        self._home = re.compile(rf"{_BEFORE_PATH}{re.escape(home)}(?![\w.-]){_PATH_REST}") if len(home) > 1 else _NEVER

    def __call__(self, text: str) -> str:
        """``text`` with everything personal replaced."""
        at, slash = "@" in text, "/" in text or "\\" in text
        if "://" in text:
            text = _URL.sub(_url, text)
        if at:
            text = _MAIL.sub(_mail, text)
        if text.count(":") > 4 or text.count("-") > 4:
            text = _MAC.sub("[mac]", text)
        if text.count(":") > 1:
            text = _IPV6.sub(_ipv6, text)
        if text.count(".") > 2:
            text = _IPV4.sub("[ip]", text)
        if slash:
            text = _PATH.sub("[path]", self._home.sub("[path]", text))
        if at or slash:
            text = _PATH_LIKE.sub(self._unname, text)
        if len(text) > 10:
            text = _PHONE.sub("[phone]", _CARD.sub(_card, text))
        if "=" in text:
            text = _KEYED.sub(_keyed, text)
        if len(text) > 15 and max(map(len, text.split())) > 15:
            text = _BEARER.sub(r"\1 [token]", _TOKEN.sub("[token]", text))
            text = _RANDOM.sub(_random, _HEX.sub("[token]", text))
        return text

    def _unname(self, word: re.Match[str]) -> str:
        return self._named.sub(lambda name: f"[{name.lastgroup}]", word[0])


def exempt(name: str, value: str) -> bool:
    """Whether ``value`` as a whole is a version, a digest or a UUID under a ``name`` that says so."""
    name = name.lower()
    if name.endswith(("version", "release", "revision")) and _VERSION.fullmatch(value):
        return True
    if name.endswith(("id", "sha", "hash")) and _DIGEST.fullmatch(value):
        return True
    return _UUID.fullmatch(value) is not None


def _names(*names: str) -> list[str]:
    return sorted({re.escape(name) for name in names if len(name) > 1 and name not in _NOBODY}, key=len, reverse=True)


def _url(found: re.Match[str]) -> str:
    scheme, authority, rest = found.groups()
    if scheme.lower() == "file":
        return f"{scheme}://[path]"
    user, at, address = authority.rpartition("@")
    host, port = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(.*)", address, re.DOTALL).groups()  # type: ignore[union-attr]
    if host.lower() not in ("", "localhost"):
        host = "[ip]" if host.startswith("[") or _IPV4.fullmatch(host) else "[host]"
    port = port if re.fullmatch(r":[0-9]{1,5}|", port) else ":[credentials]"
    return f"{scheme}://{'[credentials]' if user else ''}{at}{host}{port}{rest}"


def _mail(found: re.Match[str]) -> str:
    credentials, host = found.groups()
    if credentials:
        return "[credentials]@[host]"
    return "[email]" if "." in host and host.rpartition(".")[2][:1].isalpha() else "[user]@[host]"


def _ipv6(found: re.Match[str]) -> str:
    text = found[0]
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return text
    plain = text.partition("%")[0]
    short = "::" in plain and len(plain.replace("::", ":").strip(":").split(":")) < 4
    return text if short and not any(address in network for network in _IN_USE) else "[ip]"


def _card(found: re.Match[str]) -> str:
    """A number of a payment card's length and beginning, and with its check digit (Luhn)."""
    digits = re.sub("[ -]", "", found[0])
    if not _CARDS.fullmatch(digits):
        return found[0]
    doubled = "0246813579"
    total = sum(int(doubled[int(digit)] if place % 2 else digit) for place, digit in enumerate(reversed(digits)))
    return found[0] if total % 10 else "[card]"


def _keyed(found: re.Match[str]) -> str:
    return f"{found[1]}=[token]" if _SECRET.search(found[1]) else found[0]


def _random(found: re.Match[str]) -> str:
    """A word of mixed case whose letters and digits alternate too often to have been thought up by a person."""
    text = found[0]
    if text.lower() == text or text.upper() == text or len(_TURN.findall(text)) < 5 or _UUID.search(text):
        return text
    return "[token]"
