"""Files are written whole, folders remember their inputs, and work resumes at the clip."""

import json
import os

import pytest

from mome import files


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
    return files.run_clip_jobs(write_length, jobs, marks, outputs, folder / "done.jsonl", num_jobs)


def test_results_come_in_order_and_refusals_with_their_reason(tmp_path):
    results, num_new = run(tmp_path, {"b": "bb", "a": "", "c": "ccc"})
    assert list(results.items()) == [
        ("b", {"length": 2}),
        ("a", {"skipped": "no text"}),
        ("c", {"length": 3}),
    ]
    assert num_new == 3 and files.skipped(results) == {"a": "no text"}


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


def test_progress_counts_what_was_there_and_what_is_left_out(tmp_path, capsys):
    run(tmp_path, {"a": "", "b": "bb"})
    capsys.readouterr()
    run(tmp_path, {"a": "", "b": "bb", "c": "", "d": "d"})
    first, *_, last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    assert "2/4" in first and "4/4" in last and "2 left out" in last
    run(tmp_path, {"a": "", "b": "bb"})
    assert capsys.readouterr().err == ""


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
    assert files.clip_mark(path) == "missing"
    path.write_text("one")
    first = files.clip_mark(path, "centre")
    assert files.clip_mark(path, "centre") == first != files.clip_mark(path, "mediapipe")
    path.write_text("three")
    assert files.clip_mark(path, "centre") != first


def test_a_folder_is_fresh_for_its_own_inputs_alone(tmp_path):
    inputs = {"rate": 4, "scp": "abc", "snrs": [0.0, 5.0]}
    assert not files.up_to_date(tmp_path, inputs)
    files.write_stamp(tmp_path, inputs)
    assert files.up_to_date(tmp_path, inputs)
    assert not files.up_to_date(tmp_path, inputs | {"rate": 5})
    assert files.changed_inputs(tmp_path, inputs | {"rate": 5, "new": 1}) == ["new", "rate"]
    files.clear_stamp(tmp_path)
    assert not files.up_to_date(tmp_path, inputs)


def test_a_digest_follows_content_for_small_files(tmp_path):
    path = tmp_path / "text"
    path.write_text("a")
    before = files.digest(path)
    os.utime(path, (1, 1))
    assert files.digest(path) == before
    path.write_text("b")
    assert files.digest(path) != before
    assert files.digest(tmp_path / "none") == "missing"


def test_a_digest_of_a_folder_follows_names_and_contents_but_not_stamps(tmp_path):
    (tmp_path / "a").write_text("1")
    before = files.digest(tmp_path)
    files.write_stamp(tmp_path, {})
    assert files.digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.digest(tmp_path) != before


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "text"
    with files.atomic_write(path) as tmp_path_of_it:
        tmp_path_of_it.write_text("a")
        assert not path.exists()
    assert path.read_text() == "a"
    with pytest.raises(RuntimeError), files.atomic_write(path) as tmp_path_of_it:
        tmp_path_of_it.write_text("b")
        raise RuntimeError
    assert path.read_text() == "a"
    assert [p.name for p in path.parent.iterdir()] == ["text"]
