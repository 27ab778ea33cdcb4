"""The readers of GRID, on a small one with the quirks of the public copy."""

from pathlib import Path

import pytest

from mome.corpora import grid, grid_overlapped

NAMES = [
    f"{a}{b}{c}{d}{n}n" for a in "blps" for b in "bgrw" for c in "abiw" for d in "ak" for n in "1z"
]


@pytest.fixture
def root(tmp_path) -> Path:
    """Speakers with 20 sentences each; alignments of s3 and s4 are exchanged, s20's are missing."""
    for k in (1, 2, 3, 4, 5, 6, 20, 22):
        folder = tmp_path / f"s{k}"
        folder.mkdir()
        names = NAMES[k : k + 60 : 3]
        for name in names:
            (folder / f"{name}.mpg").write_bytes(b"")
        if k == 20:
            continue
        alignments = tmp_path / f"alignments/s{ {3: 4, 4: 3}.get(k, k) }"
        alignments.mkdir(parents=True)
        for name in names:
            words = grid.words_of(name).split()
            rows = [f"{10000 * i} {10000 * (i + 1)} {word}" for i, word in enumerate(words, 1)]
            text = "\n".join(["0 10000 sil", *rows, "70000 74500 sil"])
            (alignments / f"{name}.align").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "name, words",
    [
        ("bbaf2n", "bin blue at f two now"),
        ("lbax4n", "lay blue at x four now"),
        ("swiz3n", "set white in z three now"),
        ("PGWZZA", "place green with z zero again"),
        ("srby9p", "set red by y nine please"),
    ],
)
def test_a_name_holds_its_sentence(name, words):
    assert grid.words_of(name) == words


@pytest.mark.parametrize("name", ["", "bbaf2", "bbaf2nn", "bbaw2n", "bbaf0n", "xbaf2n", "bb f2n"])
def test_other_names_are_refused(name, refused):
    with refused("not the name of a sentence", "is not the name of a sentence, such as bbaf2n"):
        grid.words_of(name)


def test_there_are_51_words_and_33_filmed_speakers():
    assert len({word for words in grid.WORDS for word in words.values()}) == 51
    assert len(grid.SPEAKERS) == 33 and "s21" not in grid.SPEAKERS


def test_speakers_1_2_20_and_22_are_for_tests(root):
    sets = grid.list_sets(root)
    speakers = {name: {c.speaker for c in clips} for name, clips in sets.items()}
    assert speakers == {
        "train": {"s5", "s6"}, "valid": {"s3", "s4"}, "test": {"s1", "s2", "s20", "s22"},
    }  # fmt: skip
    assert [len(clips) for clips in sets.values()] == [40, 40, 80]
    clip = sets["train"][0]
    assert clip.utterance == f"s5-{clip.media_path.stem}" and len(clip.text.split()) == 6
    (row,) = grid.coverage(root)
    assert (row.found, row.expected, row.unit) == (8, 33, "speakers")


def test_overlapped_sets_share_speakers_but_no_clips_and_are_the_same_each_time(root):
    sets = grid_overlapped.list_sets(root)
    assert sets == grid_overlapped.list_sets(root)
    ids = [c.utterance for clips in sets.values() for c in clips]
    assert len(ids) == len({*ids}) == 160
    for speaker in ("s1", "s5", "s22"):
        counts = [sum(c.speaker == speaker for c in clips) for clips in sets.values()]
        assert counts == [14, 1, 5]
    assert round(1000 * grid_overlapped.TEST_SHARE) == 255


def test_fewer_hours_are_as_many_clips_of_each_speaker():
    clips = [
        grid.Clip(f"s{k}-{n}", f"s{k}", Path(f"{n}.mpg"), "x")
        for k in range(27)
        for n in range(400)
    ]
    few = grid.limited(clips, 5)
    assert {sum(c.speaker == f"s{k}" for c in few) for k in range(27)} == {222}
    assert few == grid.limited(clips[::-1], 5) and 4.9 < len(few) * 3 / 3600 <= 5


def test_exchanged_folders_of_alignments_are_found_by_the_names_in_them(root, caplog):
    caplog.set_level("INFO")
    clips = grid.read_clips(root)
    folders = grid.alignment_folders(root, clips)
    assert {speaker: path.name for speaker, path in folders.items() if path.name != speaker} == {
        "s3": "s4", "s4": "s3",
    }  # fmt: skip
    assert "alignments: of 140 of 160 clips; 2 speakers have them in the folder of" in caplog.text
    assert "; 0 have other words" in caplog.text
    for clip in clips:
        path = grid.alignment_of(clip, folders)
        assert (path is None) == (clip.speaker == "s20")


def test_an_alignment_with_other_words_is_counted_and_the_name_counts(root, caplog):
    caplog.set_level("INFO")
    path = next((root / "alignments/s5").iterdir())
    path.write_text("0 74500 wrong\n")
    (root / f"alignments/s6/{next((root / 's6').iterdir()).stem}.align").write_text("0 x sil\n")
    clips = {c.utterance: c for c in grid.read_clips(root)}
    assert "2 have other words than the name, which counts (such as s5-" in caplog.text
    assert clips[f"s5-{path.stem}"].text == grid.words_of(path.stem)


@pytest.mark.parametrize("unit", [1000, 25_000])
def test_the_unit_of_an_alignment_is_told_by_the_length_of_the_clip(tmp_path, unit, refused):
    path = tmp_path / "x.align"
    rows = [(0, 0.95, "sil"), (0.95, 1.2, "BIN"), (1.2, 1.4, "sp"), (1.4, 2.98, "blue")]
    path.write_text("".join(f"{round(a * unit)} {round(b * unit)} {w}\n" for a, b, w in rows))
    words = grid.read_alignment(path)
    assert [w.word for w in words] == ["bin", "blue"]
    assert [t for w in words for t in (w.start, w.end)] == pytest.approx([0.95, 1.2, 1.4, 2.98])
    path.write_text("0 10 bin\n10 twenty blue\n")
    with refused("a line of an alignment", r"x\.align, line 2: '10 twenty blue' is not `start end"):
        grid.read_alignment(path)


def test_elsewhere_says_what_was_looked_for(tmp_path, refused):
    with refused(
        "no corpus in the folder", r"has no folder s1, s2, \.\.\. s34: give the", FileNotFoundError
    ):
        grid.list_sets(tmp_path)
