"""Work on many clips resumes at the clip."""

import json
import logging
import os

import pytest

from mome.data import clip_jobs, progress


def write_length(path, text):
    """A job: refuses an empty text, is out of luck with "full", and dies of "crash"."""
    if not text:
        raise ValueError("no text")
    if text == "full":
        raise OSError(28, "No space left on device")
    if text == "crash":
        os._exit(9)
    path.write_text(text)
    return {"length": len(text)}


def run(folder, texts, num_jobs=1, marks=None):
    outputs = {u: folder / u for u in texts}
    jobs = {u: (outputs[u], text) for u, text in texts.items()}
    marks = marks or {u: text for u, text in texts.items()}
    return clip_jobs.run(write_length, jobs, marks, outputs, folder / "done.jsonl", num_jobs)


def test_results_come_in_order_and_refusals_with_their_reason(tmp_path):
    results, num_new = run(tmp_path, {"b": "bb", "a": "", "c": "ccc"})
    assert list(results.items()) == [
        ("b", {"length": 2}),
        ("a", {"skipped": "no text"}),
        ("c", {"length": 3}),
    ]
    assert num_new == 3 and clip_jobs.skipped(results) == {"a": "no text"}


def test_only_what_is_missing_or_changed_is_done_again(tmp_path):
    texts = {"a": "", "b": "bb", "c": "ccc", "d": "d"}
    first, _ = run(tmp_path, texts)
    assert run(tmp_path, texts) == (first, 0)
    (tmp_path / "b").unlink()
    results, num_new = run(tmp_path, {**texts, "c": "cccc"})
    assert num_new == 2 and results["c"] == {"length": 4} and (tmp_path / "b").exists()
    assert run(tmp_path, {**texts, "c": "cccc"}) == (results, 0)
    assert run(tmp_path, {"a": "now", "b": "bb"})[1] == 1


def test_a_run_that_was_stopped_goes_on(tmp_path):
    texts = {"a": "a", "b": "bb", "c": "full", "d": "d"}
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, texts)
    results, num_new = run(tmp_path, {**texts, "c": "ccc"})
    assert num_new == 2 and len(results) == 4


def test_progress_counts_what_was_there_and_what_is_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0)
    run(tmp_path, {"a": "", "b": "bb"})
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(tmp_path, {"a": "", "b": "bb", "c": "", "d": "d"})
        first, last = caplog.messages
        assert "3 of 4 clips" in first and "4 of 4" in last and "2 left out" in last
        caplog.clear()
        run(tmp_path, {"a": "", "b": "bb"})
    assert not caplog.messages


def test_a_last_line_cut_short_is_done_again(tmp_path):
    texts = {"a": "a", "b": "bb"}
    run(tmp_path, texts)
    path = tmp_path / "done.jsonl"
    path.write_text(path.read_text()[:-5])
    results, num_new = run(tmp_path, texts)
    assert num_new == 1 and results["b"] == {"length": 2}
    assert run(tmp_path, texts)[1] == 0


def test_several_processes_give_the_same(tmp_path):
    texts = {f"u{k}": "x" * (k % 3) for k in range(10)}
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    assert run(tmp_path / "one", texts, 1) == run(tmp_path / "two", texts, 2)
    one, two = ((tmp_path / n / "done.jsonl").read_text() for n in ("one", "two"))
    assert one == two and json.loads(one.splitlines()[-1])[0] == "u9"


def test_a_process_that_dies_is_told_and_does_not_hang(tmp_path):
    texts = {"a": "a", "b": "crash", "c": "c"}
    with pytest.raises(ValueError, match="a process died at a or one of the 8 clips after it"):
        run(tmp_path, texts, 2)


def test_a_mark_changes_with_the_file_and_the_options(tmp_path):
    path = tmp_path / "clip.mp4"
    assert clip_jobs.mark(path) == "missing"
    path.write_text("one")
    first = clip_jobs.mark(path, "centre")
    assert clip_jobs.mark(path, "centre") == first != clip_jobs.mark(path, "mediapipe")
    path.write_text("three")
    assert clip_jobs.mark(path, "centre") != first
