"""Trains the demo models from the data folder: `python -m training --data DATA --out WORK --models FOLDER`.

Every stage keeps its result in WORK and is skipped, or goes on, when that is there: run the command again after a stop.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

# Large blocks kept by malloc and no spinning threads: without these two, training on a CPU takes 1.7 times as long.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "200000000",
    "OMP_WAIT_POLICY": "passive",
}


MINUTES = {"xs": 8, "s": 14, "m": 100, "rerank": 16}
"""Of one core of a 2024 server; two cores train two models at once (--only), or one in half the time (--threads)."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder, with unpack.sh")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything in between (about 3 GB)")
    parser.add_argument("--models", type=Path, required=True, help="folder that gets demo-xs, -s, -m and demo-rerank")
    parser.add_argument(
        "--time", type=float, default=1.0, help="factor of the minutes that each model gets: " + str(MINUTES)
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="cores for one embedding model, whose minutes they share"
    )
    parser.add_argument("--only", choices=MINUTES, action="append", help="train just this model (again for another)")
    return parser.parse_args()


def main() -> None:
    """Run the stages in order."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "training", *sys.argv[1:]], os.environ | ENVIRONMENT)
    from . import card, data, teacher, tokenizer, train_embedding, train_reranker

    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    unpacked = args.out / "data"
    if not unpacked.exists():
        subprocess.run(["bash", str(args.data / "unpack.sh"), str(unpacked)], check=True)
    print("training rows", flush=True)
    data.build(args.data, unpacked, args.out)
    print("tokenizer", flush=True)
    tokenizer.train(args.out)
    print("teacher vectors", flush=True)
    teacher.run(args.out)
    for stage, minutes in MINUTES.items():
        if (args.only and stage not in args.only) or (args.out / f"{stage}.json").exists():
            continue
        folder = args.models / f"demo-{stage}"
        print(f"{folder.name}: {minutes * args.time:.0f} minutes", flush=True)
        if stage == "rerank":
            recipe, first = train_reranker.Recipe(), args.models / "demo-xs"
            train_reranker.run(args.data, args.out, first, folder, recipe, minutes * args.time)
        else:
            recipe = replace(train_embedding.RECIPES[stage], threads=args.threads)
            train_embedding.run(args.data, args.out, folder, recipe, minutes * args.time)
    card.write(args.out, args.models)


if __name__ == "__main__":
    main()
