"""mp4 files: the same bytes each time, and sound that fits the images."""

import av
import numpy as np

from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.synthesis import movie

IMAGE_SAMPLES = SAMPLE_RATE // VIDEO_FPS


def test_a_movie_is_the_same_bytes_each_time_and_sound_and_images_agree(performance, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        movie.write(
            tmp_path / name, performance.images, VIDEO_FPS, performance.waveform, SAMPLE_RATE
        )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].average_rate == VIDEO_FPS
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.audio[0].rate == SAMPLE_RATE
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(images) == len(performance.images) == len(performance.waveform) // IMAGE_SAMPLES
    assert abs(len(sound) / IMAGE_SAMPLES - len(images)) <= 2
    assert np.abs(np.stack(images).astype(int) - performance.images).mean() < 4
    error = (
        sound[: len(performance.waveform)] - performance.waveform / 32768
    )  # no shift, so that phones fit
    assert np.square(error).mean() < 0.01 * np.square(performance.waveform / 32768).mean()
