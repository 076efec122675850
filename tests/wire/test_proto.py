"""proto/ and what is generated from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from usagewire.wire.jetstream.v1 import telemetry_pb2
from usagewire.wire.jetstream.v1.telemetry_pb2 import Data, Information, Session, Value

ROOT = Path(__file__).parents[2]
PROTO = "proto/usagewire/wire/jetstream/v1/telemetry.proto"
BUF = str(Path(sys.executable).with_name("buf"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """In the repository."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_generated_code_is_what_the_compiler_makes(tmp_path: Path) -> None:
    """Committed and never edited; otherwise run `make proto`."""
    if not (ROOT / ".venv" / "protoc" / "grpc_tools").is_dir():
        pytest.skip("grpcio-tools 1.63.2 has no wheel for this Python")
    done = run(sys.executable, "proto/generate.py", "--to", str(tmp_path))

    assert (0, "") == (done.returncode, done.stderr)
    made = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.py*")}
    assert {"telemetry_pb2.py", "telemetry_pb2.pyi"} == {path.name for path in made}
    assert made == {path: (ROOT / "exporters" / path).read_text("utf-8") for path in made}


def test_proto_is_linted() -> None:
    """By buf's standard rules, comments on everything included."""
    done = run(BUF, "lint", "proto")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_version_one_never_breaks() -> None:
    """Whoever speaks v1 as it was first published can read what is sent today."""
    first = run("git", "log", "--diff-filter=A", "--format=%H", "--", PROTO).stdout.split()
    if not first:
        pytest.skip("not committed yet, or no git repository")
    done = run(BUF, "breaking", "proto", "--against", f".git#ref={first[-1]},subdir=proto")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_code_is_not_tied_to_one_protobuf() -> None:
    """Code of a newer compiler refuses every runtime but its own major version and the next; users have 5, 6 and 7."""
    source = Path(telemetry_pb2.__file__).read_text("utf-8")

    assert "Protobuf Python Version: 5.26.1" in source
    assert "ValidateProtobufRuntimeVersion" not in source


def fields(message: type[Message]) -> list[tuple[str, int, int]]:
    """Name, number and wire type of every field."""
    return [(field.name, field.number, field.type) for field in message.DESCRIPTOR.fields]


def test_structures_are_as_documented() -> None:
    """The product's two structures and their fields, in the document's order."""
    assert [
        ("license", 1, FieldDescriptor.TYPE_STRING),
        ("platform", 2, FieldDescriptor.TYPE_STRING),
        ("revision", 3, FieldDescriptor.TYPE_SINT64),
        ("server_id", 4, FieldDescriptor.TYPE_STRING),
        ("start_time", 5, FieldDescriptor.TYPE_SINT64),
    ] == fields(Information)
    assert [
        ("key", 1, FieldDescriptor.TYPE_FIXED32),
        ("timestamp", 2, FieldDescriptor.TYPE_SINT64),
        ("values", 3, FieldDescriptor.TYPE_MESSAGE),
    ] == fields(Data)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)))
def test_values_travel_unchanged(values: list[int | float]) -> None:
    """Whole numbers of 64 bits stay whole, which a double would not let them."""
    sent = Session(data=[Data(values=[Value(integer=v) if isinstance(v, int) else Value(number=v) for v in values])])

    got = Session.FromString(sent.SerializeToString()).data[0].values

    assert values == [getattr(value, str(value.WhichOneof("kind"))) for value in got]
