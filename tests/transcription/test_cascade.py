"""Cascades: which scales, the file of thresholds, and what a second look changes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WordTokenizer, baby_model

import mome
from mome import checkpoint
from mome.compression import Scale, scales_of
from mome.config import Config, DecodeConfig
from mome.data import SAMPLE_RATE, audio
from mome.transcription import cascade
from mome.transcription.cascade import NEVER, Cascade
from mome.transcription.recogniser import Recogniser

SCALES = Cascade.parse("a16,a4")


# ---- scales -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        ("a4", "a cascade is written a16_v5,a4_v2, the cheapest first; got 'a4'"),
        ("a4_v2,a16_v5", "from the cheapest scale to the finest, not a4_v2,a16_v5"),
        ("a4,a4", "from the cheapest scale to the finest, not a4,a4"),
        ("v5,a4", "the scales of a cascade must be of one task: v5,a4"),
        ("a16,4", "a scale is written a4, v2 or a4_v2; got '4'"),
    ],
)
def test_what_is_no_cascade_is_one_line(name, message):
    with pytest.raises(ValueError, match=message):
        Cascade.parse(name)


def test_a_cascade_goes_by_default_from_the_cheapest_to_the_finest_scale_of_the_first_task():
    for task in ("avsr", "all"):
        assert str(cascade.widest(scales_of(task, [4, 16], [2, 5]))) == "a16_v5,a4_v2"
    assert str(Cascade.parse("a16_v2,a4_v5,a4_v2")) == "a16_v2,a4_v5,a4_v2"
    with pytest.raises(ValueError, match="a cascade needs two scales, and the model has only a4"):
        cascade.widest([Scale(4, None)])


def test_frames_must_be_enough_for_the_coarsest_rate_of_each_stream():
    scales = Cascade.parse("a16_v2,a4_v5").scales
    assert cascade.coarsest(scales) == Scale(16, 5)
    assert cascade.coarsest([Scale(None, 2)]) == Scale(None, 2)


# ---- the file -----------------------------------------------------------------------------------


@pytest.fixture
def model_dir(tmp_path):
    checkpoint.save(tmp_path / "best", {}, Config(), {})
    return tmp_path / "best"


def test_thresholds_of_several_cascades_are_kept_side_by_side(model_dir):
    fine = Cascade.parse("a4,a2")
    cascade.write(model_dir, Cascade(SCALES.scales, -0.25), {"gain": 0.9})
    path = cascade.write(model_dir, Cascade(fine.scales, NEVER), {})
    found, record = cascade.read(model_dir, SCALES)
    assert found.threshold == -0.25 and record["gain"] == 0.9
    assert cascade.read(model_dir, fine)[0].threshold == NEVER
    json.loads(path.read_text(), parse_constant=pytest.fail)  # no Infinity, which is not JSON


def test_without_a_threshold_the_command_that_makes_it_is_named(model_dir):
    message = r"cascade a16,a4 \(.*cascade.json does not exist\): .* exp/<tag> --scales a16 a4$"
    with pytest.raises(FileNotFoundError, match=message):
        cascade.read(model_dir, SCALES)
    cascade.write(model_dir, SCALES, {})
    with pytest.raises(FileNotFoundError, match="has thresholds for a16,a4"):
        cascade.read(model_dir, Cascade.parse("a4,a2"))


def test_a_threshold_of_other_weights_or_a_damaged_file_is_refused(model_dir):
    path = cascade.write(model_dir, SCALES, {})
    record = json.loads(path.read_text())
    (model_dir / checkpoint.FILE).write_bytes(b"other")
    with pytest.raises(ValueError, match="was made for other weights: run mome cascade again"):
        cascade.read(model_dir, SCALES)
    del record["a16,a4"]["threshold"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="has no threshold for a16,a4: run mome cascade again"):
        cascade.read(model_dir, SCALES)
    for text in ("{", "[]", '{"a16,a4": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is damaged: remove it and run mome cascade again"):
            cascade.read(model_dir, SCALES)


# ---- decoding -----------------------------------------------------------------------------------


class Listener:
    """Stands in for a speech encoder: frames of 20 ms that depend on the sound."""

    dim, name, sha256 = 8, "listener", ""

    def __call__(self, sounds: list[np.ndarray]) -> list[torch.Tensor]:
        frames = [x[: len(x) // 320 * 320].reshape(-1, 8, 40).mean(axis=2) for x in sounds]
        return [50 * torch.tensor(x) for x in frames]


@pytest.fixture(scope="module")
def model():
    """A baby whose LLM has large weights, so that its texts depend on what it hears."""
    baby = baby_model(task="asr", audio_rates=[4, 16])
    with torch.no_grad():
        for name, parameter in baby.llm.named_parameters():
            parameter.mul_(1 if "norm" in name or "adapter" in name else 15)
    search = DecodeConfig(batch_size=4, tokens_per_second=4, extra_tokens=1)
    cfg = Config(model=baby.config, decode=search)
    return Recogniser(Path("exp/x"), cfg, baby, WordTokenizer(), {"audio": Listener()}, 4.0)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Six files; batches have four."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    paths = [folder / f"{k}.wav" for k in range(6)]
    for k, path in enumerate(paths):
        samples = rng.standard_normal(SAMPLE_RATE // 2 * (1 + k % 3))
        audio.write(path, (0.1 * samples).astype(np.float32))
    return paths


def segments(model, paths, scale):
    found = [result for _, result in mome.transcribe_all(model, paths, scale)]
    return [result.segments[0] for result in found]


def test_a_cascade_takes_the_finer_text_where_the_score_is_below_the_threshold(model, sounds):
    cheap, fine = (segments(model, sounds, str(scale)) for scale in SCALES.scales)
    assert all(c.text != f.text for c, f in zip(cheap, fine, strict=True))
    scores = sorted(s.score for s in cheap)
    for threshold in (NEVER, (scores[2] + scores[3]) / 2, math.inf):
        found = segments(model, sounds, Cascade(SCALES.scales, threshold))
        expected = [f if c.score < threshold else c for c, f in zip(cheap, fine, strict=True)]
        assert [(s.text, s.scale) for s in found] == [(s.text, s.scale) for s in expected]
        assert [s.score for s in found] == pytest.approx([s.score for s in expected], abs=1e-4)


def test_words_have_times_at_any_scale(model, sounds, tmp_path):
    blanks = {"weight": torch.zeros(1, 16), "bias": torch.zeros(1)}
    named = {f"alignment.blank.audio.{name}": value for name, value in blanks.items()}
    checkpoint.save(tmp_path, named, Config(), {})
    own = replace(model, dir=tmp_path)
    for scale in ("a16", Cascade(SCALES.scales, math.inf)):
        for result in (r for _, r in mome.transcribe_all(own, sounds, scale, words=True)):
            (segment,) = result.segments
            (found,) = result.as_dict()["segments"]
            assert [w["word"] for w in found["words"]] == segment.text.split()
            ends = [t for w in segment.words for t in (w.start, w.end)]
            assert ends == sorted(ends) and segment.start <= ends[0] <= ends[-1] <= segment.end
            assert found["words"][0].keys() == {"word", "start", "end"}
    assert segments(own, sounds[:1], "a16")[0].words is None  # unless asked for


def test_the_transcript_names_the_cascade_and_each_segment_its_scale(model, sounds):
    texts = []
    found = mome.transcribe(
        model, sounds[0], Cascade(SCALES.scales, math.inf), on_text=texts.append
    )
    (segment,) = found.as_dict()["segments"]
    assert (found.scale, segment["scale"]) == ("a16,a4", "a4") and texts[-1] == found.text


def test_a_piece_too_short_for_a_token_of_the_cheap_scale_is_read_at_both(model, tmp_path):
    audio.write(tmp_path / "short.wav", np.full(1600, 0.1, np.float32) * (-1) ** np.arange(1600))
    found = mome.transcribe(model, tmp_path / "short.wav", Cascade(SCALES.scales, math.inf))
    assert [s.scale for s in found.segments] == ["a4"]
