"""The page of the demo: what it answers, and, in Chromium, the way from an upload to a text."""

import base64
import importlib.util
import json
import os
import shutil
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")

from mome import search  # noqa: E402
from mome.demo import page  # noqa: E402
from mome.demo.state import Limits  # noqa: E402
from mome.demo.visit import ModelHost  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
REAL_CLIPS = os.environ.get("MOME_REAL_CLIPS")


def no_flops(prompt: int, text: int) -> int:
    return 0


def answer(model, path, limits=None, scale="a4", other="none") -> list[tuple[str, str, str]]:
    return list(page.answer(ModelHost(model, limits), no_flops, path, scale, other, "none", 0))


def test_an_answer_ends_with_the_texts(model, clip):
    note, _, results = answer(model, str(clip), other="a2")[-1]
    assert "Done" in note
    assert 'data-scale="a4"' in results and 'data-scale="a2"' in results


def test_bad_files_are_answered_with_one_message(model, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "gone.mp4"):
        note, *_ = answer(model, str(tmp_path / name))[-1]
        assert 'role="alert"' in note and name in note, note
        assert str(tmp_path) not in note and "Traceback" not in note
    assert "at most 1 s" in answer(model, str(clip), Limits(seconds=1.0))[-1][0]
    assert "upload or record" in answer(model, None)[-1][0]


def test_a_fault_shows_no_traceback(model, clip, monkeypatch, caplog):
    def fail(self, request):
        raise KeyError("secret")
        yield

    monkeypatch.setattr(ModelHost, "serve", fail)
    note, *_ = answer(model, str(clip))[-1]
    assert 'role="alert"' in note and "secret" not in note
    assert "secret" in caplog.text


@pytest.fixture
def address(model, monkeypatch, tmp_path):
    """Where a page with the baby model is served."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    built, ended = page.build(ModelHost(model), "Baby", no_flops), threading.Event()
    args = built, "127.0.0.1", port, 1.0, ended
    thread = threading.Thread(target=page.serve, args=args, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}/"
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=30).close()
            break
        except OSError:
            thread.join(0.1)
    yield url
    ended.set()
    thread.join(30)


def test_the_page_forbids_the_browser_to_call_elsewhere(address):
    with urllib.request.urlopen(address, timeout=60) as found:
        policy = found.headers["content-security-policy"]
        config = urllib.request.urlopen(address + "config", timeout=60).read()
    assert "default-src 'self'" in policy and "http:" not in policy and "*" not in policy
    assert json.loads(config)["analytics_enabled"] is False


# ---- in Chromium --------------------------------------------------------------------------------

FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage",
    "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",  # it shows a disc
    "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def in_browser(test):
    """The test is slow, and needs Chromium."""
    no_selenium = not importlib.util.find_spec("selenium")
    for mark in (
        pytest.mark.slow,
        pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver"),
        pytest.mark.skipif(no_selenium, reason="needs selenium"),
    ):
        test = mark(test)
    return test


class Visitor:
    """A visitor of the page; `shot(name)` saves what it looks like in the folder $MOME_SHOTS."""

    def __init__(self, address: str, width: int, voice: Path):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        from selenium.webdriver.support.ui import WebDriverWait

        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"use-file-for-fake-audio-capture={voice}"):
            options.add_argument(f"--{flag}")
        options.binary_location = BROWSER
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.address, self.width = address, width
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(address)
        self.patience = WebDriverWait(self.driver, 120)

    def see(self, css: str):
        """Wait for an element, and give it."""
        return self.patience.until(lambda d: d.find_elements("css selector", css))[0]

    def press(self, css: str) -> None:
        self.driver.execute_script("arguments[0].click()", self.see(css))

    def text_of(self, css: str) -> str:
        return self.see(css).text

    def shot(self, name: str) -> None:
        if "MOME_SHOTS" in os.environ:
            path = Path(os.environ["MOME_SHOTS"]) / f"{name}_{self.width}.png"
            image = self.driver.execute_cdp_cmd(
                "Page.captureScreenshot", {"captureBeyondViewport": True}
            )
            path.write_bytes(base64.b64decode(image["data"]))

    def check(self) -> None:
        """Nothing is wider than the window, and nothing was asked from elsewhere."""
        wide = self.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= self.width, "the page can be scrolled sideways"
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                assert url.startswith((self.address, "data:", "blob:")), url


@pytest.fixture(params=[400, 1280])
def visitor(address, request, clip):
    found = Visitor(address, request.param, clip)
    yield found
    found.driver.quit()


@in_browser
def test_from_upload_to_text(visitor, clip):
    """With a real clip where MOME_REAL_CLIPS names a folder of them; nothing is asked elsewhere."""
    given = sorted(Path(REAL_CLIPS).glob("*.mpg"))[0] if REAL_CLIPS else clip.with_suffix(".mp4")
    if not REAL_CLIPS:
        shutil.copy(clip, given)
    visitor.see("#clip input[type=file]").send_keys(str(given))
    visitor.see("#clip video")
    visitor.press("#go")
    assert visitor.text_of("#results p.done")
    assert "Real-time factor" in visitor.text_of("#results")
    visitor.shot("upload")
    visitor.check()


@in_browser
def test_from_a_sound_file_to_text(visitor, clip):
    visitor.press("#sound_tab-button")
    visitor.see("#sound input[type=file]").send_keys(str(clip))
    visitor.see("#sound [data-testid='waveform-controls']")
    visitor.press("#go")
    assert visitor.text_of("#results p.done")
    visitor.shot("sound")
    visitor.check()


@in_browser
def test_from_the_webcam_to_text(visitor):
    visitor.press("#clip button[aria-label='Capture from camera']")
    visitor.press("#clip [title='grant webcam access'] button")
    visitor.press("#clip [title='start recording']")
    time.sleep(4)
    visitor.shot("recording")
    visitor.press("#clip [title='stop recording']")
    visitor.see("#clip video[src]")
    visitor.press("#go")
    assert visitor.text_of("#results p.done")
    assert "Clip of" in visitor.text_of("#results") and "Done" in visitor.text_of("#note")
    visitor.shot("webcam")
    visitor.check()


@in_browser
def test_stop_ends_a_text_at_once(visitor, clip, monkeypatch):
    read = search.Tree.read
    given = clip.with_suffix(".mp4")
    shutil.copy(clip, given)
    visitor.see("#clip input[type=file]").send_keys(str(given))
    visitor.see("#clip video")
    with monkeypatch.context() as slow:
        slow.setattr(search.Tree, "read", lambda *args: time.sleep(0.3) or read(*args))
        visitor.press("#go")
        visitor.patience.until(lambda d: visitor.text_of("#results p.writing"))
        visitor.shot("writing")
        visitor.press("#stop")
        words = visitor.text_of("#results p.stopped")
        assert "Stopped" in visitor.text_of("#note")
        time.sleep(1.5)
        assert visitor.text_of("#results p.stopped") == words
        visitor.shot("stopped")
    visitor.press("#go")  # the model is free
    assert visitor.text_of("#results p.done").startswith(words)
    visitor.check()
