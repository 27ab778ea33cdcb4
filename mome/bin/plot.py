"""Draw a clip as the model gets it: python -m mome.bin.plot data/test dump/mouths/test --out c.png

Draws some of its images and mouth crops, its spectrogram, and the time that each token of some
scales covers.
"""

from pathlib import Path

from espnet2.fileio.read_text import read_2columns_text

from mome.bin import Parser, run
from mome.compression import Scale
from mome.data import audio, crops, video
from mome.scoring import plots


def main(argv: list[str] | None = None) -> None:
    """Draw one utterance of a data directory."""
    parser = Parser(__doc__)
    parser.add_argument("data_dir", type=Path, help="such as data/test")
    parser.add_argument("mouths_dir", type=Path, help="such as dump/mouths/test")
    parser.add_argument("--utterance", help="its id (default: the first one)")
    parser.add_argument(
        "--scales", nargs="+", default=["a4_v2", "a16_v5"], help="to draw, of both streams"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="figure to write: .png, .pdf or .svg"
    )
    args = parser.parse_args(argv)
    scales = [Scale.parse(s) for s in args.scales]
    if not all(s.audio and s.video for s in scales):
        parser.error(
            f"--scales must have audio and video, such as a4_v2; got {' '.join(args.scales)}"
        )
    tables = {}
    for name, path in (
        ("text", args.data_dir / "text"),
        ("wav", args.data_dir / "wav.scp"),
        ("video", args.data_dir / "video.scp"),
        ("mouths", args.mouths_dir / "mouths.scp"),
    ):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run stages 0 and 1 of the recipe")
        tables[name] = read_2columns_text(path)
    utterance = args.utterance or min(tables["mouths"])
    if utterance not in tables["mouths"]:
        raise ValueError(f"{args.mouths_dir / 'mouths.scp'} has no utterance {utterance}")
    plots.clip(
        video.read_images(tables["video"][utterance]),
        crops.read(tables["mouths"][utterance]),
        audio.read(tables["wav"][utterance]),
        scales,
        f"{utterance}: {tables['text'][utterance].lower()}",
        args.out,
    )
    print(args.out)


if __name__ == "__main__":
    run(main)
