"""Names of sets: train, valid, test, and test sets in noise or with another video.

test_babble_0                  the test set in babble at 0 dB
test_free-sound_-7.5           the test set in the noise "free-sound" (the user's) at -7.5 dB
test_babble_0_zeroed_video     the same as test_babble_0, decoded with the video zeroed
test_other_video               the clean test set, decoded with the video of another utterance
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

VIDEO = ("own", "zeroed", "other")  # what a model may see of a test set
FORM = re.compile(
    r"(?P<base>[a-z]+)"
    r"(?:_(?P<noise>[\w-]+?)_(?P<snr>-?\d+(?:\.\d+)?))?"
    r"(?:_(?P<video>zeroed|other)_video)?"
)


@dataclass(frozen=True)
class SetName:
    """What the name of a set says.

    Attributes:
        base: the set of the corpus from which it is made, such as "test".
        noise, snr: the added noise and the signal-to-noise ratio in dB; None for a clean set.
        video: what a model sees: "own", "zeroed" or "other".
    """

    base: str
    noise: str | None = None
    snr: float | None = None
    video: str = "own"

    @classmethod
    def parse(cls, name: str | Path) -> "SetName":
        """Read a name or the last part of a path. A name of any other form is taken as the base."""
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
        """Whether it is a test set, from which no clip may be missing."""
        return self.base.split("_")[0] == "test"

    def in_noise(self, noise: str, snr: float) -> "SetName":
        """The name of this set in a noise at `snr` dB."""
        return replace(self, noise=noise, snr=snr)

    def with_video(self, video: str) -> "SetName":
        """The name of this set when a model sees another video (see `VIDEO`)."""
        return replace(self, video=video)

    @property
    def sort_key(self) -> tuple:
        """Clean sets first, then by noise and falling SNR; a set with its own video first."""
        unknown = FORM.fullmatch(str(self)) is None
        snr = 0.0 if self.snr is None else -self.snr
        video = ("own", "other", "zeroed").index(self.video)
        return (unknown, self.base, self.noise or "", snr, video)
