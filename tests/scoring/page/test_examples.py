"""Utterances on the page: errors, order, mouths and sounds; what is missing is said."""

import base64
import html
import io
import re

import cv2
import numpy as np
import soundfile
from conftest import REFERENCES

from mome.data import SAMPLE_RATE
from mome.scoring.page import examples
from mome.scoring.wer import Aligned


def content_of(element: str) -> bytes:
    return base64.b64decode(re.search(r';base64,([^"]+)"', element)[1])


def text_of(element: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", element))


def test_an_error_has_its_kind_and_the_word_that_was_said():
    pairs = [("the", "the"), ("cat", "hat"), ("sat", None), (None, "<i>")]
    found = examples.alignment(Aligned("u", "s", pairs))
    words = re.findall(r'<span class="pair( \w)?"[^>]*>(.*?)</span></span>', found)
    assert [kind.strip() for kind, _ in words] == ["", "S", "D", "I"]
    assert [text_of(word) for _, word in words] == ["the", "S cathat", "D sat\u2013", "I<i>"]
    assert "nothing was said, &lt;i&gt; recognised" in found


def test_utterances_without_words_are_shown_as_such():
    nothing = Aligned("u", "s", [])
    assert "(no words)" in examples.alignment(nothing) and examples.said(nothing) == "(no words)"
    assert examples.counted(nothing) == "0 errors, 0 words"


def test_examples_come_from_both_sets_and_both_ends_of_the_scales(bare):
    found = text_of(examples.examples(bare))
    assert "3 of 3 utterances" in found
    for place in ("test at a4_v2: 2 errors, 3 words", "test at a16_v5: 2 errors, 3 words"):
        assert place in found
    assert found.count("test_babble_-5 at a16_v5") == len(REFERENCES)


def test_the_worst_come_first_and_those_without_errors_do_not_come(bare):
    found = examples.worst(bare)
    hardest, clean = re.split(r"<h3>test at a4_v2</h3>", found)
    names = re.compile("<h3>(s.-.)</h3>")
    assert names.findall(hardest) == ["s1-a", "s1-b", "s2-c"]  # 3, 3 and 2 errors
    assert names.findall(clean) == ["s1-a"]
    assert "3 of 3 utterances have errors; the 3 with most of them:" in hardest
    assert "1 of 3 utterances have errors; the 1 with most of them:" in clean


def test_the_sound_is_that_of_the_noisy_set_and_the_strip_is_that_of_the_mouth(full):
    name = "test_babble_-5"
    sound = content_of(examples.player(full, name, "s1-a", examples.Budget()))
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == SAMPLE_RATE
    expected = np.sin(np.arange(SAMPLE_RATE // 2) / 9) / 2
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    strip = examples.mouth_strip(full, name, "s1-a")
    image = cv2.imdecode(np.frombuffer(content_of(strip), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (80, 80 * examples.NUM_MOUTHS)
    assert 'alt="The mouth in s1-a at 0.0, ' in strip


def test_what_is_missing_is_said(full, bare):
    no_sound = "No sound: .*/wav.scp does not have this utterance"
    assert re.search(no_sound, examples.player(bare, "test", "s1-a", examples.Budget()))
    assert re.search(no_sound, examples.player(full, "test_babble_-5", "s1-b", examples.Budget()))
    full_page = examples.player(full, "test_babble_-5", "s1-a", examples.Budget(left=10))
    assert "this page holds 1 MB of it. See " in full_page
    assert "mouths.scp does not have this utterance" in examples.mouth_strip(bare, "test", "s1-b")
    (full.mouths_dir.parent / "a.mouth").unlink()
    assert "No mouth crops: " in examples.mouth_strip(full, "test", "s1-a")
    (full.mouths_dir.parent / "a.wav").write_bytes(b"no sound")
    assert "No sound: " in examples.player(full, "test_babble_-5", "s1-a", examples.Budget())


def test_a_model_of_audio_alone_is_said_to_read_no_video(full):
    full.reads_video = False
    assert "reads no video" in examples.mouth_strip(full, "test", "s1-a")
