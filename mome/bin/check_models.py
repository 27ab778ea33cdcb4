"""Check the foundation models of a configuration: python -m mome.bin.check_models --config x.yaml

Stage 0 of a recipe. Reads the small files (configurations, tokenizer) of the LLM, Whisper and
AV-HuBERT, from folders or the hub, before the long stages begin. For a model that cannot be read,
the error says how to get it.
"""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from mome import config
from mome.avhubert import AVHuBERTConfig
from mome.bin import Parser, run
from mome.config import Config


def check(cfg: Config) -> list[str]:
    """A line for each model; ValueError for the first one that cannot be read."""
    lines = []
    for setting, name, readers in (
        ("model.llm", cfg.model.llm, (AutoConfig, AutoTokenizer)),
        ("encoders.audio", cfg.encoders.audio, (AutoConfig,)),
    ):
        try:
            for reader in readers:
                reader.from_pretrained(name)
        except Exception as error:  # of many kinds, some of them Exception itself
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{setting} {name} cannot be read ({reason}): give a folder or an id of the hub. If"
                f" the model has a licence of its own, like Llama, accept it on"
                f" https://huggingface.co/{name} and run `hf auth login` on this machine"
            ) from None
        lines.append(f"{setting:15} {name}")
    folder = Path(cfg.encoders.video)
    if not (folder / "model.safetensors").exists():
        raise ValueError(
            f"encoders.video {folder} is not a folder with config.json and model.safetensors: get"
            " an AV-HuBERT checkpoint, such as large_vox_iter5.pt, from"
            " https://facebookresearch.github.io/av_hubert and give it to the recipe as --avhubert,"
            f" or run tools/convert_avhubert.py CHECKPOINT.pt {folder}"
        )
    AVHuBERTConfig.from_file(folder / "config.json")
    return [*lines, f"{'encoders.video':15} {folder}"]


def main(argv: list[str] | None = None) -> None:
    """Print the models of a configuration."""
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, such as conf/train_x.yaml")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args(argv)
    print("\n".join(check(config.load(args.config, args.overrides))))


if __name__ == "__main__":
    run(main)
