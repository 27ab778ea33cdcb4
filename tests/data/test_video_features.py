"""Video features that a set takes over from another one with the same mouths."""

import json
import shutil

import numpy as np
import pytest
from conftest import CLIPS, extract

from mome import encoders, files
from mome.data import SAMPLE_RATE, VIDEO_FPS, ark, audio, datadir, extraction


def tables(feats_dir):
    names = ("text", "utt2num_frames", "utt2num_video_frames")
    return {name: datadir.read_table(feats_dir / name) for name in names}


def test_what_is_taken_over_is_what_the_encoder_gives(clips_dir, encoder_dirs, monkeypatch):
    audio.write(
        clips_dir / "cid-00002.wav", np.full(13 * SAMPLE_RATE // VIDEO_FPS, 0.1, np.float32)
    )
    alone = extract(clips_dir, encoder_dirs, max_skipped=0.5)
    monkeypatch.setattr(encoders, "load_video_encoder", None)  # is not called
    taken = extract(clips_dir, encoder_dirs, "taken", max_skipped=0.5, video_from=alone)
    assert ark.read_scp(taken / "video.scp") == ark.read_scp(alone / "video.scp")
    assert len(tables(taken)["text"]) == len(CLIPS) - 1 and tables(taken) == tables(alone)
    assert json.loads((taken / "feats.json").read_text()) == json.loads(
        (alone / "feats.json").read_text()
    )
    skipped = datadir.read_skipped(alone)
    assert "cid-00002" in skipped and datadir.read_skipped(taken) == skipped


def test_video_of_other_mouths_is_not_taken(clips_dir, encoder_dirs):
    alone = extract(clips_dir, encoder_dirs)
    (clips_dir / "mouths/skipped.txt").write_text("someone-00001\tno face\n")
    with pytest.raises(ValueError, match=r"was not made from this .*skipped.txt.*--video_from"):
        extract(clips_dir, encoder_dirs, "taken", video_from=alone)


def test_video_of_another_encoder_is_not_taken(clips_dir, encoder_dirs, tmp_path):
    alone = extract(clips_dir, encoder_dirs)
    other = shutil.copytree(encoder_dirs["video"], tmp_path / "other")
    with pytest.raises(ValueError, match=r"was not made from this .*other"):
        extract(clips_dir, encoder_dirs | {"video": str(other)}, "taken", video_from=alone)


def test_video_that_is_not_finished_is_not_taken(clips_dir, encoder_dirs):
    alone = extract(clips_dir, encoder_dirs)
    files.clear_stamp(alone)
    with pytest.raises(ValueError, match=r"no finished features.*--video_from"):
        extract(clips_dir, encoder_dirs, "taken", video_from=alone)


def test_an_utterance_that_is_not_there_is_named(clips_dir, encoder_dirs):
    alone = extract(clips_dir, encoder_dirs)
    entries = ark.read_scp(alone / "video.scp")
    del entries["bob-00001"]
    ark.write_scp(alone / "video.scp", entries)
    with pytest.raises(ValueError, match=r"video\.scp lacks bob-00001"):
        extract(clips_dir, encoder_dirs, "taken", video_from=alone)


def test_when_that_video_is_made_anew_elsewhere_it_is_taken_again(clips_dir, encoder_dirs):
    alone = extract(clips_dir, encoder_dirs)
    extract(clips_dir, encoder_dirs, "taken", video_from=alone)
    options = extraction.Options(
        clips_dir / "data/train",
        clips_dir / "mouths",
        clips_dir / "feats/taken",
        *encoder_dirs.values(),
        video_from=alone,
    )
    assert extraction.up_to_date(options)
    moved = {u: f"elsewhere/{entry}" for u, entry in ark.read_scp(alone / "video.scp").items()}
    ark.write_scp(alone / "video.scp", moved)
    assert not extraction.up_to_date(options)
