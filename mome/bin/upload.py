"""Upload: python -m mome.bin.upload FOLDER OWNER/NAME, a packed model to the Hugging Face hub.

Stage 7 of a recipe. The repository is made if there is none, and is private with --private. The hub
asks for a token: `hf auth login`, or the variable HF_TOKEN. Then `mome transcribe --model
OWNER/NAME` works anywhere.
"""

import logging
from pathlib import Path

from mome import checkpoint
from mome.bin import Parser, run

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Check the folder and upload it."""
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="made by mome pack")
    parser.add_argument("repo", help="OWNER/NAME on the hub")
    parser.add_argument("--private", action="store_true", help="for a repository that is made now")
    args = parser.parse_args(argv)
    if args.repo.count("/") != 1:
        parser.error(f"'{args.repo}' is not of the form OWNER/NAME")
    checkpoint.read(args.folder)  # refuses one that is damaged
    if not (args.folder / "README.md").exists():
        raise FileNotFoundError(f"{args.folder}/README.md is missing: make it with mome pack")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(args.repo, private=args.private, exist_ok=True)
        url = api.upload_folder(
            repo_id=args.repo, folder_path=args.folder, ignore_patterns=[".stamp.json", "*.tmp"]
        )
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the hub did not take {args.repo}: {reason}") from None
    log.info(f"uploaded to {url}")


if __name__ == "__main__":
    run(main)
