"""Trains the demo models from the data folder: `python -m training --data DATA --out WORK --models FOLDER`.

Every stage keeps its result in WORK and is skipped, or goes on, when that is there: run the command again after a stop.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

# Large blocks kept by malloc and no spinning threads: without these two, training on a CPU takes 1.7 times as long.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "200000000",
    "OMP_WAIT_POLICY": "passive",
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder, with unpack.sh")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything in between (about 3 GB)")
    parser.add_argument("--models", type=Path, required=True, help="folder that gets demo-s and demo-rerank")
    parser.add_argument("--embedding-minutes", type=float, default=60)
    parser.add_argument("--reranker-minutes", type=float, default=40)
    return parser.parse_args()


def main() -> None:
    """Run the stages in order."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "training", *sys.argv[1:]], os.environ | ENVIRONMENT)
    from . import card, data, scores, teacher, tokenizer, train_embedding, train_reranker

    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    unpacked = args.out / "data"
    if not unpacked.exists():
        subprocess.run(["bash", str(args.data / "unpack.sh"), str(unpacked)], check=True)
    embedder, reranker = args.models / "demo-s", args.models / "demo-rerank"
    print("1 of 6: training rows", flush=True)
    data.build(args.data, unpacked, args.out)
    print("2 of 6: tokenizer", flush=True)
    tokenizer.train(args.out)
    print("3 of 6: teacher vectors", flush=True)
    teacher.run(args.out)
    print("4 of 6: embedding model", flush=True)
    if not (args.out / "embedding.json").exists():
        train_embedding.run(args.data, args.out, embedder, train_embedding.Recipe(), args.embedding_minutes)
    print("5 of 6: reranker", flush=True)
    if not (args.out / "reranker.json").exists():
        train_reranker.run(args.data, args.out, embedder, reranker, train_reranker.Recipe(), args.reranker_minutes)
    print("6 of 6: scores and cards", flush=True)
    scores.run(args.data, embedder, reranker, args.out / "scores.json")
    card.write(args.out, args.models)


if __name__ == "__main__":
    main()
