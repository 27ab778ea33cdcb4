"""The mini corpus: speech, movement, pictures, and the command that makes it."""

import logging
from itertools import pairwise
from pathlib import Path

import av
import espeakng_loader
import numpy as np
import pytest

from mome.bin import synthesise
from mome.corpora import mini
from mome.corpora.text_file import read_text_file
from mome.synthesis import face, movie, sentences, speech, visemes
from mome.synthesis.actor import Actor, speak_in_time
from mome.synthesis.visemes import Mouth

OPTIONS = "--train_speakers 4 --valid_speakers 1 --test_speakers 1 --clips_per_speaker 1"
TINY = [*OPTIONS.split(), "--eval_clips_per_speaker", "1"]
SENTENCE = "my father bought a brave purple fish"
OPEN = Mouth._fields.index("open")


@pytest.fixture(scope="module")
def shown():
    return Actor([1, 0, 0], "train", 0).perform(SENTENCE, [1, 0, 0, 0])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpora") / "mini"
    synthesise.main([str(root), *TINY, "--num_jobs", "1"])
    return root


def contents(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


# ---- speech and movement ------------------------------------------------------------------------


def test_speech_does_not_depend_on_what_was_said_before():
    voice = speech.Voice("en-us+klatt", 150, 50, 50)
    first = speech.say("a yellow river", voice)
    speech.say("something else", speech.Voice("en+f3", 170, 30, 60))
    again = speech.say("a yellow river", voice)
    assert np.array_equal(first.waveform, again.waveform) and first.phones == again.phones


def test_each_voice_exists_and_is_on_one_side():
    every = [voice for voices in speech.VOICES.values() for voice in voices]
    assert len(set(every)) == len(every) >= 52
    there = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    assert set(every) <= {path.name for path in there.iterdir()}


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no voice 'xx\\+nobody'"):
        speech.say("fish", speech.Voice("xx+nobody", 150, 50, 50))


def test_phones_follow_each_other_and_fill_the_clip(shown):
    assert shown.phones[0].start == 0 and shown.phones[-1].end == pytest.approx(
        len(shown.waveform) / speech.SAMPLE_RATE
    )
    assert all(p.start < p.end for p in shown.phones)
    assert all(p.end == pytest.approx(q.start) for p, q in pairwise(shown.phones))
    assert [w.name for w in shown.words] == SENTENCE.split()


def test_long_sentences_are_spoken_in_time():
    voice = speech.Voice("en-us+m3", 100, 50, 50)
    said = speak_in_time(
        "the captain behind the station was beautiful and remembered the bridge", voice
    )
    assert 2 < said.duration_s < 4.5


def test_every_word_is_made_of_phones_that_have_a_mouth():
    words = sorted(sentences.vocabulary())
    assert len(words) >= 200
    for accent in ("en-us", "en"):
        for start in range(0, len(words), 55):
            said = speech.say(
                " ".join(words[start : start + 55]), speech.Voice(accent, 160, 50, 50)
            )
            for phone in said.phones:
                for name in visemes.split(phone.name):
                    assert name in {*visemes.VOWELS, *visemes.CONSONANTS, visemes.SILENCE}


def test_a_foreign_phone_is_an_error():
    with pytest.raises(ValueError, match="'ø'"):
        visemes.split("ø")


def test_bilabials_close_the_lips_and_open_vowels_do_not():
    phones = [("_", 0.0, 0.2)]
    for i, name in enumerate(("'A:", "m", "a", "b", "A:", "p", "'a")):
        phones.append((name, 0.2 + 0.16 * i, 0.36 + 0.16 * i))
    for shift in np.linspace(0, 0.04, 5):  # wherever the pictures fall
        moved = [(name, start + shift, end + shift) for name, start, end in phones]
        track = visemes.tracks(moved, 36)
        parts = visemes.segments(moved)
        for name, start, end in parts:
            near = track[int(start * 25) : int(np.ceil(end * 25)) + 1, OPEN]
            if name in visemes.BILABIALS:
                assert near.min() < 0.12
            elif name in "aA":
                assert near.max() > 0.35


def test_a_stop_takes_its_closure_from_the_phone_before():
    parts = visemes.segments([("a", 0.0, 0.2), ("p", 0.2, 0.3), ("aI", 0.3, 0.5)])
    assert [name for name, _, _ in parts] == ["a", "p", "a", "I"]
    assert parts[0][2] == parts[1][1] == pytest.approx(0.145)
    assert all(before[2] == pytest.approx(after[1]) for before, after in pairwise(parts))


# ---- pictures -----------------------------------------------------------------------------------


def test_faces_repeat_and_differ_by_speaker():
    track = np.array([visemes.REST, visemes.VOWELS["A"]])
    one, again, other = (face.Face(seed).film(track, 3)[0] for seed in (1, 1, 2))
    assert one.shape == (2, 224, 224, 3) and one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10


def test_mouths_that_are_said_differently_look_different():
    drawn, head = face.Face(1), face.Head(0, 0, 0, 1)
    looks = {}
    for name in ("_", "A", "u", "i", "m", "f", "T", "S", "l", "k"):
        picture = drawn.frame(visemes.target(name), 0, head, np.random.default_rng(0))
        looks[name] = picture[130:180, 80:144].astype(int)
    for name, picture in looks.items():
        for other in looks:
            assert name == other or np.abs(picture - looks[other]).mean() > 1, (name, other)


def test_the_box_holds_the_face(shown):
    assert shown.boxes.shape == (len(shown.frames), 4)
    x, y, w, h = shown.boxes.T
    assert (x + w / 2 - 0.5 < 0.1).all() and (w > 0.4).all() and (h > 0.6).all()
    assert (x >= 0).all() and (y >= 0).all()


def test_a_movie_is_the_same_bytes_again_and_sound_and_picture_agree(shown, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        movie.write(tmp_path / name, shown.frames, 25, shown.waveform, 16000)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.audio[0].rate == 16000
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(frames) == len(shown.frames) == len(shown.waveform) // 640
    assert abs(len(sound) / 640 - len(frames)) <= 2
    assert np.abs(np.stack(frames).astype(int) - shown.frames).mean() < 4
    error = sound[: len(shown.waveform)] - shown.waveform / 32768  # no shift, so that phones fit
    assert np.square(error).mean() < 0.01 * np.square(shown.waveform / 32768).mean()


# ---- sentences ----------------------------------------------------------------------------------


def test_sides_share_no_sentence_and_test_words_are_known():
    rng = np.random.default_rng(0)
    train = sentences.draw(300, "train", rng, sentences.vocabulary())
    known = sentences.words_of(train)
    test = sentences.draw(100, "test", rng, known)
    assert len(set(train)) == 300 and len(set(test)) == 100
    assert not set(train) & set(test) and sentences.words_of(test) <= known


def test_too_few_words_for_the_test_side_are_told():
    with pytest.raises(ValueError, match="more training clips"):
        sentences.draw(5, "test", np.random.default_rng(0), {"we", "found", "the", "fish"})


# ---- the command --------------------------------------------------------------------------------


def test_two_processes_write_the_same_bytes(corpus, tmp_path):
    synthesise.main([str(tmp_path / "again"), *TINY, "--num_jobs", "2"])
    assert contents(corpus) == contents(tmp_path / "again")


def test_a_second_run_makes_only_what_is_missing(corpus, caplog):
    before = contents(corpus)
    lost = next(corpus.glob("trainval/*/*.mp4"))
    times = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.mp4")}
    lost.unlink()
    with caplog.at_level(logging.INFO):
        synthesise.main([str(corpus), *TINY])
    assert "1 of them to be made" in caplog.text
    assert contents(corpus) == before
    kept = {path for path in times if path.stat().st_mtime_ns == times[path]}
    assert kept == set(times) - {lost}
    caplog.clear()
    with caplog.at_level(logging.INFO):
        synthesise.main([str(corpus), *TINY])
    assert "up to date" in caplog.text


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "trainval" / "abc").mkdir(parents=True)
    with pytest.raises(ValueError, match="not made by this command"):
        synthesise.main([str(tmp_path), *TINY])
    assert (tmp_path / "trainval" / "abc").exists()


def test_text_files_hold_words_and_track(corpus):
    for part in ("pretrain", "trainval", "test"):
        path = next(corpus.glob(f"{part}/*/*.txt"))
        text = read_text_file(path)
        assert text.headers["Ref"] == path.parent.name
        assert "FRAME X Y W H" in path.read_text()
        words = [word.word for word in text.words]
        assert words == (text.text.split() if part == "pretrain" else [])


def test_lrs2_lies_otherwise_and_says_the_same(corpus, tmp_path):
    root = tmp_path / "lrs2"
    synthesise.main([str(root), *TINY, "--layout", "lrs2", "--num_jobs", "1"])
    assert (root / "mvlrs_v1" / "pretrain" / "train003" / "00000.mp4").exists()
    for set_name in mini.SETS:
        clips, others = mini.list_clips(root, set_name), mini.list_clips(corpus, set_name)
        assert [(c.utterance, c.text) for c in clips] == [(c.utterance, c.text) for c in others]
        assert all(c.media_path.exists() for c in clips)
