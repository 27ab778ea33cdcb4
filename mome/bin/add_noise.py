"""Add noise to a test set: python -m mome.bin.add_noise data/test data/test --noise babble ...

Stage 1 of a recipe. For each noise and SNR it writes OUT_PREFIX_<noise>_<snr>/, a data directory
like the clean one. In it, noise.tsv is the manifest from which the audio is mixed. Its columns are
utterance, noise file, offset in samples at 16 kHz, SNR in dB, gain of the noise, scale of the mix:

    noisy = scale * (speech + gain * noise[offset : offset + length])

The scale is 1, or less where the mix would overflow 16 bits; it does not change the SNR. An
utterance meets the same piece of noise at every SNR.

Without --noise_dir, the noise is made: babble (--num_voices speakers of --noise_data talk at once,
none of them in the test set), speech_shaped (noise with the average spectrum of such speakers),
pink or white. With --noise_dir, the noise comes from the sound files in that folder. The name of a
noise is looked up in this order:

    music      a folder of this name: all files below it, such as those in music/ of MUSAN
    babble     files of this name: babble.wav of NOISEX-92
    factory    files that differ in a number at the end: factory1.wav and factory2.wav
    all        all files

Upper and lower case do not differ; neither do -, _ and spaces.
"""

import argparse
from pathlib import Path

from mome.bin import Parser, run


def main(argv: list[str] | None = None) -> None:
    """Parse the options and write the noisy sets."""
    from mome.data import noisy_sets

    args = parse(argv)
    options = noisy_sets.Options(
        data_dir=args.data_dir,
        out_prefix=args.out_prefix,
        noisy_dir=args.noisy_dir,
        noise_dir=args.noise_dir,
        noise_data=args.noise_data,
        num_voices=args.num_voices,
        noise_seconds=args.noise_seconds,
        seed=args.seed,
    )
    noisy_sets.write_noisy_sets(args.noise, args.snrs, options)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options, checked."""
    from mome.data import noise

    made = ", ".join(noise.MADE)
    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path, help="the clean set")
    add("out_prefix", type=Path, help="data/test gives data/test_<noise>_<snr>")
    add(
        "--noise",
        nargs="+",
        default=["babble"],
        help=f"one or more of {made}; with --noise_dir, names of folders or files in it",
    )
    add("--snrs", type=float, nargs="+", default=[5, 0, -5], help="dB; one set for each")
    add("--noise_data", type=Path, help="data directory of the speakers in babble: data/train")
    add("--noise_dir", type=Path, help="folder with noise of your own, such as MUSAN or NOISEX-92")
    add("--noisy_dir", type=Path, default=Path("dump/noisy"), help="where the audio is written")
    add("--num_voices", type=int, default=30, help="speakers that talk at once in babble")
    add("--noise_seconds", type=float, default=120, help="length of a track of made noise")
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.num_voices < 1 or args.noise_seconds <= 0:
        parser.error("--num_voices and --noise_seconds must be above 0")
    for name in args.noise:
        if args.noise_dir:
            if not name.replace("_", "").replace("-", "").isalnum():
                parser.error(f"--noise '{name}' names folders: letters, digits, - and _ only")
        elif name not in noise.MADE:
            parser.error(
                f"noise '{name}' cannot be made; it must be one of {made}. For files of your own,"
                " give --noise_dir"
            )
        elif name in noise.NEEDS_VOICES and not args.noise_data:
            parser.error(f"{name} is made of speech: give --noise_data data/train")
    return args


if __name__ == "__main__":
    run(main)
