"""Make baby models: python -m mome.bin.make_baby data/train/text downloads

Writes downloads/baby-llm (a random Llama of two layers, with a SentencePiece tokenizer trained on
the transcripts), downloads/baby-whisper and downloads/baby-avhubert (random encoders of two
layers), in the form of the real models. With them, a recipe runs through all its stages in minutes;
the texts that they give mean nothing.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.synthesis import baby_models


def main(argv: list[str] | None = None) -> None:
    """Make the models, unless they are up to date."""
    parser = Parser(__doc__)
    parser.add_argument("text", type=Path, help="Kaldi text of the training set")
    parser.add_argument("out_dir", type=Path, help="the folder of foundation models")
    args = parser.parse_args(argv)
    baby_models.make_all(args.text, args.out_dir)


if __name__ == "__main__":
    run(main)
