"""The page in a real browser: what it says is so, what it switches is switched, and what comes cannot hurt it."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.chromium import NARROW, Browser, chromium, inspecting, needs_chromium
from tests.support.left import Left, leave, make_events
from tests.support.shell import Shell
from usagewire.signals import Event, Point

pytestmark = [pytest.mark.slow, needs_chromium]

HEADERS = {"Content-Type": "application/json", "Authorization": "Basic a2V5Og=="}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
VIEWS = ("/", "/programs/shop/segment", "/received", "/received?event=none-of-them", "/pictures", "/nowhere")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all."""
    with chromium() as running:
        yield running


class Desk:
    """An inspector on a state folder of its own, open in the browser."""

    def __init__(self, browser: Browser, state: Path, page: str, receiver: str, grpc: str) -> None:
        self.browser, self.state, self.page, self.receiver, self.grpc = browser, state, page, receiver, grpc
        self.shell = Shell(state)
        browser.enter(page)

    def leave(self, events: int = 0, **settings: str) -> Left:
        """A program that sends to the receiver, and has ended."""
        return leave(self.state, events, settings={"endpoint": self.receiver, **settings})

    def post(self, body: Any, path: str = "/v1/batch", method: str = "POST", **headers: str) -> requests.Response:
        """Send something to the receiver."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.request(method, self.receiver + path, data=raw, headers={**HEADERS, **headers}, timeout=60)

    def export(self, path: str) -> Any:
        """What the page exports."""
        answer = requests.get(self.browser.base + path, cookies=self.cookies(), timeout=60)
        assert 200 == answer.status_code
        return answer.json()

    def cookies(self) -> dict[str, str]:
        """The browser's key to the page."""
        found = self.browser.command("Network.getCookies", urls=[self.browser.base])["cookies"]
        return {cookie["name"]: cookie["value"] for cookie in found}


@pytest.fixture(scope="module")
def running(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """An inspector that runs, for all."""
    state = tmp_path_factory.mktemp("inspected") / "state"
    with inspecting(state) as urls:
        yield Desk(browser, state, *urls)


@pytest.fixture
def desk(running: Desk) -> Desk:
    """The same, with nothing in it."""
    shutil.rmtree(running.state, ignore_errors=True)
    origin = {"Origin": running.browser.base}
    cleared = requests.post(
        f"{origin['Origin']}/received/clear", "x=1", headers=origin, cookies=running.cookies(), timeout=60
    )
    assert 200 == cleared.status_code
    return running


def track(name: str, **properties: Any) -> dict[str, Any]:
    """An event as Segment's document has it."""
    said = {"type": "track", "event": name, "anonymousId": "a", "properties": properties}
    return {**said, "timestamp": "2026-01-02T03:04:05.678Z", "messageId": f"{time.time_ns()}"}


def batch(*events: Any) -> dict[str, Any]:
    """A request of them."""
    return {"batch": list(events), "sentAt": "2026-01-02T03:04:06.000Z"}


# -- the operator -------------------------------------------------------------------------------------------------


def test_switched_off_nothing_leaves(desk: Desk) -> None:
    """The switch deletes what waits, as `usagewire off` does; on again, only what comes after it leaves."""
    browser, left = desk.browser, desk.leave(3)
    browser.open("/programs/shop/segment")
    browser.wait_for('"event": "event_2"', "#live-next")

    browser.click("#switch-shop")
    browser.wait_for("shop: off", "#flash")
    browser.wait_for("Nothing: ", "#live-next")

    assert "off" == json.loads((desk.state / "shop" / "consent.json").read_bytes())["state"]
    assert "false" == browser.find("#switch-shop").get_attribute("aria-checked")
    desk.shell.run("send")

    browser.click("#switch-shop")
    browser.wait_for("shop: on", "#flash")
    left.put(Event("after_all", time.time_ns(), "f" * 32))
    browser.wait_for('"event": "after_all"', "#live-next")
    assert 0 == desk.shell.run("send").exit_code
    browser.wait_for("delivered", "#live-history")

    arrived = desk.export("/received/export.json")["requests"]
    assert [{"after_all": 1}] == [request["events"] for request in arrived]


def test_a_channel_switched_off_is_out_of_the_next_payload(desk: Desk) -> None:
    """The next report is previewed, and leaves, without the channel; the others stay."""
    left = leave(desk.state, service="cluster", name="stone", settings={"endpoint": desk.receiver})
    desk.shell.run("on", "--service", "cluster", "--license", "sharing-1-0")
    left.measure(Point("usage.entity.count", "gauge", time.time_ns(), {"usage.entity.type": "osd"}, 12.0))
    browser = desk.browser
    browser.open("/programs/cluster/stone")
    browser.wait_for('"crash"', "#live-next")
    browser.wait_for('"osd": {', "#live-next")

    browser.click("#switch-cluster-stone-crash")
    browser.wait_for("channel crash off", "#flash")
    browser.wait(lambda: '"crash"' not in sent_channels(browser.text("#live-next")), "the preview is without it")
    browser.click("#switch-cluster-stone-ident")
    browser.wait_for("channel ident on", "#flash")
    browser.wait_for('"organization"', "#live-next")

    [request] = desk.export("/programs/cluster/stone/export.json")["next"]["requests"]
    assert ["basic", "device", "ident"] == json.loads(request["body"])["channels"]


def sent_channels(text: str) -> str:
    """What a report names as its channels."""
    return text.partition('"channels"')[2].partition('"channels_available"')[0]


def test_what_is_previewed_is_what_is_sent(desk: Desk) -> None:
    """A preview, its copy in the history and what the receiver got say the same, to the letter."""
    desk.leave(2)
    page = "/programs/shop/segment"

    [preview] = desk.export(f"{page}/export.json")["next"]["requests"]
    assert 0 == desk.shell.run("send").exit_code
    [copy] = desk.export(f"{page}/export.json")["sent"]
    [arrived] = desk.export("/received/export.json")["requests"]

    assert copy["body"] == arrived["body"]
    assert preview["body"].partition('"sentAt"')[0] == arrived["body"].partition('"sentAt"')[0]
    assert ("delivered", 200, 2) == (copy["verdict"], copy["status"], copy["items"])
    desk.browser.open(page)
    desk.browser.click("#live-history tbody a")
    desk.browser.wait_for("always track: something happened")
    desk.browser.wait_for('"event": "event_1"')


def test_every_loss_says_why(desk: Desk) -> None:
    """Lost items stand there by reason, with what to do; the room on disk and the decision, too."""
    desk.leave(1).lose(plan=4)

    desk.browser.open("/programs/shop/segment")

    desk.browser.wait_for("what should leave has to be listed there", ".losses")
    desk.browser.wait_for("what waits", "#live-room")
    desk.browser.wait_for("the default is on", "#live-standing")

    assert "4" in desk.browser.text(".losses").split()


def test_a_licence_is_shown_before_it_is_accepted(desk: Desk) -> None:
    """A format that demands a licence says so beside its button, and is on once that was pressed."""
    leave(desk.state, service="cluster", name="stone")
    desk.browser.open("/")

    desk.browser.wait_for("Community Data License Agreement", ".agree")
    desk.browser.click(".agree button")
    desk.browser.wait_for("cluster: on under the licence sharing-1-0", "#flash")

    assert "true" == desk.browser.find("#switch-cluster").get_attribute("aria-checked")


def test_it_looks_and_touches_nothing(desk: Desk) -> None:
    """Opening every view creates and changes no file."""
    desk.leave(2)
    before = {path: path.stat().st_mtime_ns for path in desk.state.rglob("*")}

    for view in VIEWS:
        desk.browser.open(view)
        desk.browser.find("h1")

    assert before == {path: path.stat().st_mtime_ns for path in desk.state.rglob("*")}


# -- the engineer -------------------------------------------------------------------------------------------------


def test_what_arrives_appears_by_itself(desk: Desk) -> None:
    """A request is listed without a reload, with what is wrong with it; the picture grows with it."""
    browser = desk.browser
    browser.open("/received")
    browser.wait_for("Nothing has arrived yet", "#live-arrived")

    desk.post(batch(track("server_start"), {"event": "half"}))

    browser.wait_for("server_start", "#live-arrived")
    browser.wait_for("type: missing", "#live-arrived")
    browser.click("#live-arrived tbody a")
    browser.wait_for("batch[1]: messageId: missing", ".complaints")
    browser.open("/pictures")
    browser.wait_for("server_start", "#live-pictures")

    before = browser.text("#live-pictures")
    desk.post(batch(track("adapter_stop")))
    browser.wait_for("adapter_stop", "#live-pictures")
    assert "adapter_stop" not in before
    assert browser.find("figure svg rect").is_displayed()


def test_filters_and_exports(desk: Desk) -> None:
    """By format, event, channel and complaint; the export is of what is filtered."""
    desk.post(batch(track("server_start")))
    desk.post(batch(track("adapter_stop"), "wrong"))
    desk.post({"report_id": "1", "report_timestamp": "1", "channels": ["crash"]}, "/report", "PUT")

    def found(query: str) -> list[Any]:
        return [request["number"] for request in desk.export(f"/received/export.json?{query}")["requests"]]

    assert [3, 2, 1] == found("")
    assert [2, 1] == found("format=segment")
    assert [1] == found("event=SERVER")
    assert [3] == found("channel=crash")
    assert [2] == found("format=segment&wrong=1")
    browser = desk.browser
    browser.open("/received")
    browser.find("#event").send_keys("adapter")
    browser.click("#filter")
    browser.wait_for("adapter_stop", "#live-arrived")
    assert "server_start" not in browser.text("#live-arrived")


def test_a_request_can_be_repeated_with_curl(desk: Desk) -> None:
    """What is copied is the request; a credential is a variable in it."""
    body = batch(track("it's", text="ü'\"$HOME`"))
    desk.post(body)
    desk.browser.open("/received/1")
    desk.browser.click("#d-curl summary")
    desk.browser.click("[data-copy]")
    desk.browser.wait(lambda: desk.browser.find("[data-copy]").text in ("Copied", "Selected: press Ctrl+C"), "copied")

    words = shlex.split(desk.browser.find("#curl").get_attribute("textContent") or "")

    assert ["curl", "-X", "POST", f"{desk.receiver}/v1/batch"] == words[:4]
    assert "authorization: $AUTHORIZATION" in words
    assert json.dumps(body) == words[words.index("--data-binary") + 1]


def test_it_misbehaves_on_request(desk: Desk) -> None:
    """503, 429 with Retry-After, a cut connection, and back: what is chosen is what clients get."""
    browser = desk.browser

    def choose(kind: str) -> None:
        browser.open("/received")
        if not browser.find("#misbehave").get_attribute("open"):
            browser.click("#misbehave summary")
        browser.find(f"#kind option[value='{kind}']").click()
        browser.click("#misbehave-now")
        browser.wait_for("the receiver ", "#flash")

    choose("503")
    assert 503 == desk.post(batch(track("a"))).status_code
    choose("429")
    answer = desk.post(batch(track("b")))
    assert (429, "5") == (answer.status_code, answer.headers["Retry-After"])
    choose("cut")
    with pytest.raises(requests.ConnectionError):
        desk.post(batch(track("c")))
    choose("none")
    assert 200 == desk.post(batch(track("d"))).status_code


def test_hostile_payloads_are_inert(desk: Desk) -> None:
    """Markup is text, 5 MB are cut short, what is no JSON is shown as it came; nothing runs, nothing is fetched."""
    browser = desk.browser
    left = desk.leave()
    left.put(Event(HOSTILE, time.time_ns(), "e" * 32, {HOSTILE: HOSTILE}))
    left.measure(Point("usage.x", "sum", time.time_ns(), {"k": HOSTILE}, 1.0))
    desk.post(batch(track(HOSTILE, **{HOSTILE: HOSTILE})), **{"X-Odd": HOSTILE})
    desk.post(batch(track("large", text="x" * (5 << 20))))
    desk.post(b'{"batch": [' + b"[" * 100_000)
    desk.post(b"\xff\x00 not JSON " + HOSTILE.encode())
    desk.post(b"", f"/{HOSTILE}")
    desk.post([{}, {"key": [HOSTILE], "values": {HOSTILE: 1}}], "/v1/telemetry")
    desk.post(b"\x0a\xff\xff", "/v1/telemetry", **{"Content-Type": "application/x-protobuf"})
    desk.post({"message": {"uid": HOSTILE, "os": HOSTILE, "entities_count": {HOSTILE: 1e400}}}, "/collect")
    desk.post({"report_id": HOSTILE, "channels": [HOSTILE, {}], "metadata": {"osd": HOSTILE}}, "/report", "PUT")
    desk.shell.run("send")
    arrived = desk.export("/received/export.json")["requests"]
    assert 10 == len(arrived)
    browser.complaints()

    for view in (*VIEWS[:3], "/pictures", *(f"/received/{request['number']}" for request in arrived)):
        browser.open(view)
        browser.find("h1")
        assert "owned" not in browser.driver.title
        assert 0 == browser.run("return document.images.length")
        assert 1 == browser.run("return document.scripts.length")
        assert len(browser.driver.page_source) < 500_000
    browser.open("/programs/shop/segment")
    browser.click("#live-history tbody a")
    browser.wait_for("<script>document.title='owned'</script>", ".payload")

    assert [] == browser.complaints()


def test_a_hundred_thousand_events(desk: Desk) -> None:
    """It answers as before, and counted every one."""
    for number in range(40):
        events = [track(f"event_{number}") for _ in range(2_500)]
        for index, event in enumerate(events):
            event["messageId"] = f"{number}-{index}"
        assert 200 == desk.post(batch(*events)).status_code
    browser = desk.browser

    for view in ("/received", "/received?event=event_39", "/received/40", "/pictures"):
        began = time.monotonic()
        browser.open(view)
        browser.find("h1")
        assert time.monotonic() - began < 30
    browser.open("/received")

    assert "100,000" == browser.text("#events")


# -- for everybody ------------------------------------------------------------------------------------------------


def test_everything_has_a_name_and_the_keyboard_reaches_it(desk: Desk) -> None:
    """In the tree that screen readers read, each control and picture has a name; Tab comes to the way past the
    header first, and Space switches."""
    desk.leave(1)
    desk.post(batch(track("server_start")))
    roles = {"button", "link", "textbox", "combobox", "switch", "checkbox", "spinbutton", "image", "table"}
    browser = desk.browser

    for view in (*VIEWS, "/received/1"):
        browser.open(view)
        browser.find("h1")
        nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
        said = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
        unnamed = [role for role, name in said if role in roles - {"table"} and not name]
        assert [] == unnamed, view
        assert {"main", "banner", "navigation", "contentinfo"} <= {role for role, _ in said}
    browser.open("/")
    browser.run("document.body.focus()")
    press(browser, "Tab")
    assert "Skip to content" == browser.run("return document.activeElement.textContent")
    while browser.run("return document.activeElement.id") != "switch-shop":
        press(browser, "Tab")
    press(browser, " ")
    browser.wait_for("shop: off", "#flash")


def press(browser: Browser, key: str) -> None:
    """A key on the keyboard."""
    code = {"Tab": 9, " ": 32}[key]
    text = {"text": key} if key == " " else {}
    browser.command("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
    browser.command("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def test_every_view_in_four_looks(desk: Desk) -> None:
    """Wide and narrow, light and dark: nothing is wider than the screen, and the pictures of it are kept."""
    left = desk.leave(2)
    desk.shell.run("send")
    left.put(*make_events(1))
    left.lose(quota=2)
    leave(desk.state, service="cluster", name="stone")
    golden = Path(__file__).parents[1] / "golden"
    for name, path, method in (("tts/one", "/collect", "POST"), ("stone/full", "/report", "PUT")):
        body = (golden / f"{name}.out").read_text().splitlines()[-1].encode()
        desk.post(body, path, method)
    data = (golden / "jetstream" / "grpc.out").read_text().splitlines()[2].encode()
    desk.post(data, "/v1/telemetry")
    desk.post(batch(track("server_start", server_version="1.30.0"), track("server_stop")))
    desk.post(b"{")
    browser = desk.browser
    browser.open("/programs/shop/segment")
    sent = browser.find("#live-history tbody a").get_attribute("href")
    names = ("programs", "destination", "received", "nothing-received", "pictures", "missing")

    more = (("arrival", "/received/2"), ("sent", str(sent)), ("licence", "/programs/cluster/stone"))
    for name, view in (*zip(names, VIEWS, strict=True), *more):
        browser.open(view)
        browser.find("h1")
        browser.shoot(name)
        browser.look(NARROW, "light")
        assert NARROW >= int(browser.run("return document.documentElement.scrollWidth")), name
    browser.look(1280, "light")
