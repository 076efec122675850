"""R13: the write key, the operator's header and the proxy's password are where they must be, and nowhere else."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from tests.support.programs import EMIT, Program
from tests.support.servers import Authority, Proxy, refusing
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

KEY, TOKEN, LOGIN = "k3y-of-the-vendor", "t0ken-of-the-operator", "proxy-user:pr0xy-pass"
SECRETS = [
    *(KEY, TOKEN, "pr0xy-pass"),
    *(base64.b64encode(secret.encode()).decode().rstrip("=") for secret in (f"{KEY}:", TOKEN, LOGIN)),
]
CHATTY = (
    """
    import logging
    logging.basicConfig(level=logging.DEBUG)
"""
    + EMIT
    + """
    import usagewire
    for number in range(3):
        logger.emit(event_name="work", attributes={"number": number})
    print(usagewire.flush(2_000))
    logger.emit(event_name="left")
    from opentelemetry._logs import get_logger_provider
    get_logger_provider().force_flush()
    raise ValueError("the program's own")
"""
)
LOOKS = (["status"], ["status", "--json"], ["show"], ["config"], ["send"])


@pytest.mark.parametrize("endpoint", ["taken", "401", "refused", "proxied", "proxy says no"])
def test_secrets_stay_where_they_are(tmp_path: Path, endpoint: str) -> None:
    """Whatever the endpoint does: not in a log, however chatty, an exception, the output of a command, the queue, the
    ledger, sent/ or rejected/; destination.json, for this user's eyes only, is the one file that knows them."""
    authority = Authority(tmp_path)
    script = faults.status(401) if endpoint == "401" else None
    tls = authority.server() if "prox" in endpoint else None
    with Receiver(tls=tls, script=script) as receiver, Proxy(login=LOGIN) as proxy, refusing() as nobody:
        program = Program(tmp_path, nobody if endpoint == "refused" else receiver.url)
        login = LOGIN if endpoint == "proxied" else "proxy-user:pr0xy-pass-but-wrong"
        program.settings |= {
            "OTEL_EXPORTER_SEGMENT_WRITE_KEY": KEY,
            "OTEL_EXPORTER_SEGMENT_HEADERS": f"X-Token={TOKEN}",
            "OTEL_EXPORTER_SEGMENT_DELIVERY": "thread",
        }
        if "prox" in endpoint:
            program.settings["OTEL_EXPORTER_SEGMENT_PROXY"] = f"http://{login}@127.0.0.1:{proxy.port}"
            program.settings["OTEL_EXPORTER_SEGMENT_CERTIFICATE"] = authority.file
        done = program.run(CHATTY)
        said = {"stdout": done.stdout, "stderr": done.stderr}
        for look in LOOKS:
            looked = program.usagewire(*look)
            said[" ".join(look)] = looked.stdout + looked.stderr

    assert 1 == done.returncode, done.stderr
    assert endpoint in ("refused", "proxy says no") or receiver.requests
    files = {path: path.read_text(errors="replace") for path in program.state.rglob("*") if path.is_file()}
    knowing = {path for path, text in files.items() if any(secret in text for secret in SECRETS)}
    telling = {name for name, text in said.items() if any(secret in text for secret in SECRETS)}
    assert set() == telling
    assert {program.state / "shop" / "segment" / "destination.json"} == knowing
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    folders = [path for path in program.state.rglob("*") if path.is_dir()]
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in folders}
