from pathlib import Path

import pytest

from mome.data import frame_range


@pytest.mark.parametrize("path", ["a b/clip.mp4", "x[1:2].mp4", "[3:4]/c.mp4", "c:[d].MP4"])
@pytest.mark.parametrize("frames", [None, (0, 0), (80, 246)])
def test_what_is_joined_is_split_again(path, frames):
    assert frame_range.split(frame_range.join(path, frames)) == (Path(path), frames)
