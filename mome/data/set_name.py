"""The name of a set: train, valid, test, and test sets in noise or without their own video.

test_babble_0                  the test set in babble at 0 dB
test_free-sound_-7.5           in the user's noise "free-sound" at -7.5 dB
test_babble_0_zeroed_video     decoded with the video zeroed
test_other_video               decoded with the video of another utterance
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

VIDEO = ("own", "zeroed", "other")  # what a model sees of a test set
FORM = re.compile(
    r"(?P<base>[a-z]+)"
    r"(?:_(?P<noise>[\w-]+?)_(?P<snr>-?\d+(?:\.\d+)?))?"
    r"(?:_(?P<video>zeroed|other)_video)?"
)


@dataclass(frozen=True)
class SetName:
    """What the name of a set says.

    Attributes:
        base: the set of the corpus that it comes from, such as "test".
        noise, snr: the noise that was added and its signal-to-noise ratio in dB; None if clean.
        video: "own", "zeroed" or "other": what a model sees.
    """

    base: str
    noise: str | None = None
    snr: float | None = None
    video: str = "own"

    @classmethod
    def parse(cls, name: str | Path) -> "SetName":
        """Read a name, or the last part of a path. A name of another form is a base of its own."""
        name = Path(name).name
        match = FORM.fullmatch(name)
        if match is None:
            return cls(name)
        snr = None if match["snr"] is None else float(match["snr"])
        return cls(match["base"], match["noise"], snr, match["video"] or "own")

    def __str__(self) -> str:
        noise = "" if self.noise is None else f"_{self.noise}_{self.snr:g}"
        return f"{self.base}{noise}{'' if self.video == 'own' else f'_{self.video}_video'}"

    @property
    def is_test(self) -> bool:
        """Whether it is a test set: one whose clips must all be there."""
        return self.base.split("_")[0] == "test"

    def in_noise(self, noise: str, snr: float) -> "SetName":
        """The set of this name in a noise, at `snr` dB."""
        return replace(self, noise=noise, snr=snr)

    def with_video(self, video: str) -> "SetName":
        """The set of this name as a model sees it with another video."""
        return replace(self, video=video)

    @property
    def sort_key(self) -> tuple:
        """Clean sets first, then by noise and falling SNR; other video behind the set's own."""
        unknown = FORM.fullmatch(str(self)) is None
        snr = 0.0 if self.snr is None else -self.snr
        video = ("own", "other", "zeroed").index(self.video)
        return (unknown, self.base, self.noise or "", snr, video)
