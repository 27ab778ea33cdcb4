"""The page of the demo: what it answers, and, in Chromium, the way from an upload to a text."""

import importlib.util
import json
import os
import shutil
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")

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


@pytest.mark.slow
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver")
@pytest.mark.skipif(not importlib.util.find_spec("selenium"), reason="needs selenium")
@pytest.mark.parametrize("width", [400, 1280])
def test_from_upload_to_text_in_a_browser(address, width, clip, tmp_path):
    """With a real clip where MOME_REAL_CLIPS names a folder of them; nothing is asked elsewhere."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    given = sorted(Path(REAL_CLIPS).glob("*.mpg"))[0] if REAL_CLIPS else clip.with_suffix(".mp4")
    if not REAL_CLIPS:
        shutil.copy(clip, given)
    options = webdriver.ChromeOptions()
    for name in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{name}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(address)
        wait = WebDriverWait(driver, 120)
        field = "#clip input[type=file]"
        wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, field))[0].send_keys(str(given))
        wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, "#clip video"))
        driver.find_element(By.ID, "go").click()
        wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, "#results p.done"))
        assert driver.find_element(By.CSS_SELECTOR, "#results p.done").text
        assert "Real-time factor" in driver.find_element(By.ID, "results").text
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, "the page can be scrolled sideways"
        for entry in driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                assert url.startswith((address, "data:", "blob:")), url
    finally:
        driver.quit()
