"""What the experts do: python -m mome.bin.analyse exp/<tag> --sets test --scales a4_v2 a16_v5

The trained model reads the clips of a set with their reference text, at every scale. This writes
exp/<tag>/analysis/<set>/: analysis.json (all figures), index.md (tables and captions) and PNGs, the
counterparts of Fig. 4, 5, 8 and 9 of MoME, and prints the tables.

* load of each expert by layer, scale and kind of token
* entropy of the router, and how many tokens take the most usual set of experts of their layer
* experts that two scales have in common, against other utterances
* cosine of tokens across streams and scales, before the LLM and after each layer

A model without routers (LoRA, plain adapter) has only the last.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

from mome import checkpoint, config, files
from mome.bin import Parser, run
from mome.bin._jobs import device_of
from mome.checkpoint import choose_scales, find_model
from mome.data.dataset import FeatureDataset
from mome.data.featdir import find_set
from mome.data.features import open_source
from mome.data.set_name import SetName
from mome.decoding import load_model
from mome.prompt import text_ids
from mome.scoring import expert_plots, tables
from mome.scoring.analysis import analyse

log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="exp/<tag>, trained by stage 3")
    parser.add_argument("--sets", nargs="+", default=["test"], help="such as test test_babble_0")
    parser.add_argument("--feats", type=Path, default=Path("dump/feats"), help="features of sets")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument(
        "--mouths", type=Path, default=Path("dump/mouths"), help="for a trained video encoder"
    )
    parser.add_argument("--scales", nargs="*", help="such as a4_v2; all those trained by default")
    parser.add_argument("--num_utterances", type=int, help="of each set, at most; default: all")
    parser.add_argument("--batch_size", type=int, default=8, help="utterances read together")
    parser.add_argument("--model", default="best", help="best, average or checkpoints/step_<n>")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    parser.add_argument("overrides", nargs="*", help="such as model.llm=/models/llama")
    args = parser.parse_args(argv)
    if args.batch_size < 1 or (args.num_utterances is not None and args.num_utterances < 1):
        parser.error("--num_utterances and --batch_size must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    """Analyse every set that is not analysed yet."""
    args = parse(argv)
    model_dir = find_model(args.exp_dir, args.model)
    cfg = config.load(args.exp_dir / "config.yaml", args.overrides)
    scales = choose_scales(cfg, args.scales)
    # A video encoder that was trained with the model encodes the test sets too.
    sets_dir = args.data if cfg.encoders.video_lora_rank else args.feats
    for name in args.sets:
        find_set(sets_dir, name)
    device = args.device or device_of(None)
    loaded = None
    for name in args.sets:
        out_dir = args.exp_dir / "analysis" / name
        inputs = {
            "model": files.digest(model_dir / checkpoint.FILE),
            "set": files.digest(sets_dir / name),
            "scales": [str(scale) for scale in scales],
            "num_utterances": args.num_utterances,
        }
        if files.up_to_date(out_dir, inputs):
            log.info(f"{out_dir} is up to date")
            continue
        loaded = loaded or load_model(model_dir, cfg, device)
        model, tokenizer, base = loaded
        encoders = dict(zip(["video"], model.video_encoder, strict=False))  # none if it was frozen
        mouths_dir = args.mouths / SetName.parse(name).base
        source = open_source(
            sets_dir / name, mouths_dir, model.streams, cfg.encoders, device, ready=encoders
        )
        data = FeatureDataset(source, partial(text_ids, tokenizer))
        data.check_encoders(base["features"])
        data.check_rates([scale.audio for scale in scales if scale.audio])
        result = analyse(model, data, scales, args.num_utterances, args.batch_size)
        files.clear_stamp(out_dir)
        files.write_json(out_dir / "analysis.json", rounded(result), indent=None)
        captions = expert_plots.draw(result, out_dir)
        title = f"{args.exp_dir.name}, {name}"
        found = expert_plots.summary_tables(result)
        in_markdown = [tables.markdown(rows) for rows in found]
        expert_plots.write_page(title, result, in_markdown, captions, out_dir / "index.md")
        files.write_stamp(out_dir, inputs)
        print(f"{title}: {expert_plots.describe(result)}")
        for rows in found:
            print(f"\n{tables.plain(rows)}")
        print(f"\n{out_dir / 'index.md'}")


def rounded(value):
    """A result with numbers of five digits, which keeps the file small."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    run(main)
