"""Damage to any table or archive is refused in one line that names file, utterance and remedy."""

import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from mome.bin import validate
from mome.data import ark, datadir, tables, validation
from mome.data.dataset import Pick
from mome.data.features import Archives

UTTERANCES = ["s1-00001", "s1-00002", "s2-00001"]
DATA = ["wav.scp", "video.scp", "text", "utt2spk", "utt2dur", "spk2utt"]
FEATS = ["audio.scp", "audio_noisy1.scp", "video.scp", "text"]
FEATS += ["utt2num_frames", "utt2num_video_frames"]
LENGTHS = {"s1-00001": 9, "s1-00002": 12, "s2-00001": 5}  # video frames
INFO = '{"num_noisy_copies": 1, "audio_dim": 4, "video_dim": 3}'


@pytest.fixture
def data_dir(kaldi_tables, tmp_path) -> Path:
    datadir.write(tmp_path / "data/train", kaldi_tables)
    return tmp_path / "data/train"


@pytest.fixture
def feats_dir(tmp_path) -> Path:
    folder, rng = tmp_path / "dump/feats/train", np.random.default_rng(0)
    for name, factor, dim in (("audio", 2, 4), ("audio_noisy1", 2, 4), ("video", 1, 3)):
        items = [(u, rng.normal(size=(factor * n, dim))) for u, n in LENGTHS.items()]
        ark.write_ark(folder / f"{name}.scp", [(u, x.astype(np.float32)) for u, x in items])
    for name, factor in (("utt2num_frames", 2), ("utt2num_video_frames", 1)):
        (folder / name).write_text("".join(f"{u} {factor * n}\n" for u, n in LENGTHS.items()))
    (folder / "text").write_text("".join(f"{u} some words\n" for u in LENGTHS))
    (folder / "feats.json").write_text(INFO)
    return folder


def read_features(folder: Path) -> None:
    Archives(folder, ["audio", "video"])


def without(lines: list[bytes], number: int) -> list[bytes]:
    return lines[:number] + lines[number + 1 :]


LINES = {  # what happens to the lines of a table -> what the message says, and about which line
    "a line is missing": (lambda x: without(x, 1), r"lacks {key}|{key} is not in|{key} has other"),
    "a line comes twice": (lambda x: [x[0], *x], "line 2: {first} is on line 1 too"),
    "a byte order mark": (lambda x: [b"\xef\xbb\xbf" + x[0], *x[1:]], "line 1 begins with a byte"),
    "an empty file": (lambda x: [], "{file} is empty"),
    "an empty line": (lambda x: [x[0], b"\n", *x[1:]], "line 2 is empty"),
    "a key alone": (lambda x: [x[0].split()[0] + b"\n", *x[1:]], "line 1: {first} has no value"),
    "one more": (
        lambda x: [*x, b"zz-1 1 1\n"],
        "line {more}: zz-1 is not in|zz-1, which is on line {more}",
    ),
    "out of order": (lambda x: [x[1], x[0], *x[2:]], "line 2: {first} is out of order; LC_ALL=C"),
    "not UTF-8": (lambda x: [x[0], b"\xe9" + x[1], *x[2:]], "line 2: byte 0xe9 is not UTF-8"),
    "UTF-16": (lambda x: [b"".join(x).decode().encode("utf-16")], "line 1: byte 0xff is not UTF-8"),
    "a path": (lambda x: [b"../../" + x[0], *x[1:]], r"line 1: \.\./\.\./{first} would be part of"),
    "binary": (lambda x: [bytes(range(256))], "line 2: byte 0x80 is not UTF-8"),
}


@pytest.mark.parametrize("table", [f"data/{t}" for t in DATA] + [f"feats/{t}" for t in FEATS])
@pytest.mark.parametrize("damage", LINES)
def test_damage_to_a_table_is_one_line_with_its_file_and_line(request, table, damage, tell):
    kind, name = table.split("/")
    folder = request.getfixturevalue(f"{kind}_dir")
    read = datadir.read if kind == "data" else read_features
    read(folder)  # it is whole
    path = folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    first, second = (line.split()[0].decode() for line in lines[:2])
    change, message = LINES[damage]
    path.write_bytes(b"".join(change(lines)))
    words = {"first": first, "key": second, "file": name, "more": len(lines) + 1}
    with pytest.raises(ValueError, match=message.format(**words)) as error:
        read(folder)
    text = tell(f"{table}: {damage}", error.value)
    assert name in text and str(folder) in text
    assert "run stage 2" in text or "repair it, or run the stage of the recipe" in text


@pytest.mark.parametrize("table", [f"data/{t}" for t in DATA] + [f"feats/{t}" for t in FEATS])
def test_a_table_that_is_gone_or_a_folder_is_named(request, table, tell):
    kind, name = table.split("/")
    folder = request.getfixturevalue(f"{kind}_dir")
    read = datadir.read if kind == "data" else read_features
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing: run the stage") as gone:
        read(folder)
    (folder / name).mkdir()
    with pytest.raises(ValueError, match=rf"{name} is no file: remove it") as no_file:
        read(folder)
    tell(f"{table}: gone", gone.value)
    tell(f"{table}: a folder", no_file.value)


@pytest.mark.parametrize(
    "table, old, new, message",
    [
        ("utt2dur", "1.25000", "0", "line 1: s1-00001 lasts '0', which is no number of seconds"),
        ("utt2dur", "1.25000", "-1", "line 1: s1-00001 lasts '-1'"),
        ("utt2dur", "1.25000", "nan", "line 1: s1-00001 lasts 'nan'"),
        ("utt2dur", "1.25000", "1e30", "line 1: s1-00001 lasts '1e30'"),
        ("utt2dur", "1.25000", "soon", "line 1: s1-00001 lasts 'soon'"),
        ("utt2spk", "s2-00001 s2", "s2-00001 s1", "line 3: s2-00001 does not begin with its"),
        ("spk2utt", "s1-00001 s1-00002", "s1-00001", "line 1: s1 has other utterances than in"),
        ("spk2utt", "s2 s2-00001", "s3 s2-00001", "spk2utt lacks s2, which is on line 2 of the sp"),
    ],
)
def test_values_of_data_tables_must_fit(data_dir, table, old, new, message, tell):
    path = data_dir / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        datadir.read(data_dir)
    tell(f"data/{table}: {new}", error.value)


@pytest.mark.parametrize("command", ["touch {trap} |", "| touch {trap}"])
@pytest.mark.parametrize("table", ["wav.scp", "video.scp"])
def test_a_command_in_a_table_is_refused_and_never_run(data_dir, tmp_path, table, command, tell):
    trap = tmp_path / "trap"
    text = command.format(trap=trap)
    lines = (data_dir / table).read_text().splitlines()
    (data_dir / table).write_text("\n".join([f"s1-00001 {text}", *lines[1:]]) + "\n")
    with pytest.raises(
        ValueError, match=r"line 1: s1-00001 is a command, .* never run: write its"
    ) as error:
        datadir.read(data_dir)
    tell(f"data/{table}: {command}", error.value)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        ark.load(text, "s1-00001")
    tell(f"features: {command}", error.value)
    assert not trap.exists()


def test_media_files_that_do_not_exist_are_named_and_counted(data_dir, tmp_path, tell):
    (tmp_path / "my media/s1-00002.wav").unlink()
    datadir.read(data_dir)  # a million of them would take long
    with pytest.raises(
        ValueError, match=r"wav.scp: s1-00002 has .*s1-00002.wav, which does not"
    ) as error:
        validation.validate(data_dir)
    tell("data/wav.scp: a file that is gone", error.value)
    for path in (tmp_path / "my media").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"; and 3 more: bring the files back") as error:
        validation.validate(data_dir)
    tell("data/wav.scp: all files are gone", error.value)


@pytest.mark.parametrize(
    "table, old, new, message",
    [
        ("utt2num_frames", " 18", " 0", "line 1: s1-00001 has 0 frames"),
        ("utt2num_frames", " 18", " -18", "line 1: s1-00001 has -18 frames"),
        ("utt2num_frames", " 18", " 1e30", "line 1: s1-00001 has 1e30 frames"),
        ("utt2num_frames", " 18", " many", "line 1: s1-00001 has many frames"),
        ("utt2num_frames", " 24", " 12", "line 2: s1-00002 has 12 frames of 20 ms, but 12 of 40"),
        ("utt2num_video_frames", " 12", " 24", "s1-00002 has 24 frames of 20 ms, but 24 of 40"),
        ("feats.json", INFO, "{", "feats.json, line 1: this is not JSON"),
        ("feats.json", INFO, "[]", "feats.json must hold values by name"),
        ("feats.json", INFO, '{"store_rate": 0}', "store_rate must be 1 or more, got 0"),
        ("feats.json", INFO, '{"store_rate": "a"}', "store_rate must be 1 or more, got 'a'"),
        ("feats.json", INFO, '{"audio_dim": -4}', "audio_dim must be 1 or more, got -4"),
        (
            "video.scp",
            "video.ark:9",
            "gone.ark:9",
            "video.scp, line 1: s1-00001: .* does not exist",
        ),
        ("video.scp", "video.ark:9", "video.ark:99999", "video.ark ends at byte"),
        ("video.scp", "video.ark:9", "video.ark", "is not of the form 'ark path:byte offset'"),
        ("video.scp", "video.ark:9", "video.ark:-9", "is not of the form 'ark path:byte offset'"),
    ],
)
def test_values_of_feature_tables_must_fit(feats_dir, table, old, new, message, tell):
    path = feats_dir / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        read_features(feats_dir)
    assert "run stage 2 of the recipe again" in tell(f"feats/{table}: {new.strip()}", error.value)


def test_a_noisy_copy_that_is_gone_and_entries_that_are_shared_are_named(feats_dir, tell):
    (feats_dir / "audio_noisy1.scp").unlink()
    with pytest.raises(FileNotFoundError, match=r"audio_noisy1.scp is missing") as error:
        read_features(feats_dir)
    tell("feats: a noisy copy is gone", error.value)
    Archives(feats_dir, ["video"])  # which does not need it
    (feats_dir / "audio_noisy1.scp").write_text((feats_dir / "audio.scp").read_text())
    with pytest.raises(
        ValueError, match=r"audio_noisy1.scp, line 1: s1-00001: .* of s1-00001 too"
    ) as error:
        read_features(feats_dir)
    tell("feats: a noisy copy is the clean features", error.value)
    lines = (feats_dir / "video.scp").read_text().splitlines()
    lines[1] = f"s1-00002 {lines[0].split()[1]}"
    (feats_dir / "video.scp").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        ValueError, match=r"video.scp, line 2: s1-00002: .* entry of s1-00001 too"
    ) as error:
        Archives(feats_dir, ["video"])
    tell("feats: two utterances share an entry", error.value)


ARRAYS = {
    "half its frames": (np.zeros((9, 4)), "has 9 frames of width 4, but .*frames and .* say 18 of"),
    "one frame more": (np.zeros((19, 4)), "has 19 frames of width 4"),
    "another width": (np.zeros((18, 5)), "has 18 frames of width 5, but .* say 18 of width 4"),
    "a vector": (np.zeros(18), "cannot read s1-00001"),
    "no frames": (np.zeros((0, 4)), "cannot read s1-00001"),
    "1e30": (np.full((18, 4), 1e30), "holds values that are not finite or above 100000, of s1-0"),
    "infinite": (np.full((18, 4), np.inf), "holds values that are not finite"),
    "not a number": (np.where(np.eye(18, 4), np.nan, 0), "holds values that are not finite"),
}


@pytest.mark.parametrize("damage", ARRAYS)
@pytest.mark.parametrize("name, copy", [("audio", 0), ("audio_noisy1", 1)])
def test_frames_that_are_not_those_of_the_tables_are_refused(feats_dir, damage, name, copy, tell):
    x, message = ARRAYS[damage]
    scp = feats_dir / f"{name}.scp"
    entries = ark.read_scp(scp)
    with (feats_dir / "other.ark").open("wb") as file:
        kaldiio.save_ark(file, {"s1-00001": x.astype(np.float32)})
    ark.write_scp(scp, entries | {"s1-00001": f"{feats_dir}/other.ark:9"})
    source = Archives(feats_dir, ["audio", "video"])
    source.frames("audio", [("s1-00002", Pick(1, copy))])
    with pytest.raises(ValueError, match=message) as error:
        source.frames("audio", [("s1-00001", Pick(0, copy))])
    assert "run " in tell(f"frames of {name}: {damage}", error.value)
    assert str(feats_dir) in str(error.value) and "s1-00001" in str(error.value)


def test_the_length_of_averaged_frames_is_that_of_the_averages(feats_dir):
    (feats_dir / "feats.json").write_text(INFO.replace("{", '{"store_rate": 4, '))
    items = [(u, np.ones((-(-2 * n // 4), 4), np.float32)) for u, n in LENGTHS.items()]
    ark.write_ark(feats_dir / "audio.scp", items)
    source = Archives(feats_dir, ["audio", "video"])
    for utterance, n in LENGTHS.items():
        (x,) = source.frames("audio", [(utterance, Pick(0))])
        assert len(x) == 2 * n
        with pytest.raises(ValueError, match="frames of width 4, but"):  # the copy is not averaged
            source.frames("audio", [(utterance, Pick(0, copy=1))])


def test_the_video_of_another_utterance_may_have_another_length(feats_dir):
    source = Archives(feats_dir, ["audio", "video"])
    own = source.scps["video"]
    source.scps["video"] = dict(zip(own, reversed(own.values()), strict=True))
    (x,) = source.frames("video", [("s1-00001", Pick(0))])
    assert len(x) == LENGTHS["s2-00001"] != LENGTHS["s1-00001"]


@pytest.mark.parametrize("line", ["s1-00001 no tab", ""])
def test_a_list_of_what_was_skipped_has_a_reason_for_each(tmp_path, line, tell):
    (tmp_path / "skipped.txt").write_text(f"s1-00000\tno face\n{line}\n")
    with pytest.raises(
        ValueError, match=r"skipped.txt, line 2: .* is no utterance, tab and"
    ) as error:
        datadir.read_skipped(tmp_path)
    tell(f"skipped.txt: {line!r}", error.value)


def test_a_large_table_is_read_in_about_a_second_for_a_million_lines(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(f"s-{k:07d} some words of a sentence\n" for k in range(100_000)))
    start = time.process_time()
    assert len(tables.read(path)) == 100_000
    assert time.process_time() - start < 2.0  # 0.1 s on an idle machine


def test_a_table_of_others_may_have_another_order_a_mark_and_keys_alone(tmp_path, refused):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfb one  two \r\na/1\nc\t\xc3\xa9t\xc3\xa9")
    table = tables.read(path, ours=False, needs_value=False)
    assert list(table.items()) == [("b", "one  two"), ("a/1", ""), ("c", "été")]
    with refused("a key alone in utt2spk of others", "line 2: a/1 has no value"):
        tables.read(path, ours=False)


def test_windows_line_ends_and_a_missing_last_one_do_no_harm(tmp_path):
    (tmp_path / "text").write_bytes(b"a one two \r\nb three")
    assert tables.read(tmp_path / "text") == {"a": "one two", "b": "three"}


def test_the_command_checks_directories_of_both_kinds(data_dir, feats_dir, capsys):
    validate.main([str(data_dir), str(feats_dir), "--arrays"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{data_dir}: 3 utterances, 2 speakers, 0.00 h: no fault",
        f"{feats_dir}: 3 utterances, 0.00 h, audio and video, 1 noisy copies: no fault",
    ]
    ark.write_ark(feats_dir / "audio.scp", [(u, np.ones((3, 4))) for u in LENGTHS])
    validate.main([str(feats_dir)])
    with pytest.raises(ValueError, match="has 3 frames of width 4, but"):
        validate.main([str(feats_dir), "--arrays"])
    with pytest.raises(FileNotFoundError, match="none is no folder: give data/<set> or dump/feats"):
        validate.main(["none"])
