"""Text files of LRS2, LRS3 and mini, and how long clips are cut."""

import itertools

import pytest

from mome.corpora.text_file import Word, normalise, pieces, read_text_file


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("I'M {LG} HERE", "i'm here"),
        ("WELL-KNOWN, {NS} isn\u2019t it?", "well known isn't it"),
        ("'TIS ' 20 {UNFINISHED", "'tis 20 unfinished"),
        ("CAFÉ_BAR", "café bar"),
        ("{LG}", ""),
    ],
)
def test_normalise(raw, clean):
    assert normalise(raw) == clean


def test_a_text_file_is_read_by_names_not_by_positions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "Conf:  4\nText:  THE {LG} CAT\nRef:   0Fi83BHQsMA\n\nWORD ASDSCORE END START\n"
        "THE 8.2 0.12 0.00\n{LG} 1.0 0.5 0.12\nCAT 9 0.9 0.5\n\n"
        "FRAME X Y W H\n000001 0.2 0.1 0.4 0.4\n"
    )
    text = read_text_file(path)
    assert text.text == "the cat"
    assert text.headers == {"Conf": "4", "Text": "THE {LG} CAT", "Ref": "0Fi83BHQsMA"}
    assert text.words == [Word("the", 0.0, 0.12), Word("cat", 0.5, 0.9)]


def test_missing_sections_are_empty_and_a_broken_word_is_an_error(tmp_path, refused):
    path = tmp_path / "a.txt"
    path.write_text("Conf:  4\n")
    assert read_text_file(path).text == "" and read_text_file(path).words == []
    path.write_text("Text:  A\n\nWORD START END\nA 0.0\n")
    with refused("times of words", r"a\.txt: 'A 0\.0'"):
        read_text_file(path)


def test_pieces_hold_every_word_once_and_none_is_too_long():
    words = [Word(f"w{k}", k * 1.5 + 0.2, k * 1.5 + 1.3) for k in range(61)]
    found = pieces(words, 16.0)
    assert " ".join(text for *_, text in found).split() == [w.word for w in words]
    bounds = [start for start, *_ in found] + [words[-1].end]
    lengths = [b - a for a, b in itertools.pairwise(bounds)]
    assert max(lengths) <= 16 and min(lengths) >= 12  # about equal
    for (_, end, _), (start, _, text) in itertools.pairwise(found):
        first = next(w for w in words if w.word == text.split()[0])
        assert end == start < first.start and end > first.start - 0.4 - 1e-9


def test_a_silence_longer_than_a_piece_cannot_be_cut(refused):
    with refused("no place to cut", "cannot be cut into pieces of at most 16 s"):
        pieces([Word("a", 0, 1), Word("b", 50, 51)], 16.0)
