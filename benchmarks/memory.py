"""How well the library finds, and how fast: `python -m benchmarks.memory [--locomo FILE] [--history REPO]… [--json]`.

FILE is `locomo10.json` of LoCoMo (snap-research/locomo: ten long conversations, and questions on them with the turns
that have the answer). It isn't part of the repository, and without it its rows are left out. Each turn is an entry of
the library, a session is a run, a conversation a repository; nothing of the search knows that they are turns.

R@10 is the share of a question's evidence that is among the first ten, on average over the questions that name
evidence which is there. It's given twice: over all five categories, and without the adversarial one, whose questions
speak of the wrong person. The search of a large library and its index made anew are in processor time.

Behind them stand what the dream rests on, see `benchmarks.dream_rows`: 1,200 generated pairs of statements, and, with
three git repositories as REPO, what is found of the files that were renamed in the second half of their histories.
Last comes a whole dream over 200 generated runs with 1,000 raw facts, see `benchmarks.dream_whole`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import dream_rows, dream_whole, memory_rows
from benchmarks.report import present


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locomo", type=Path, help="locomo10.json")
    parser.add_argument("--history", type=Path, action="append", default=[], help="a git repository; name three")
    parser.add_argument("--entries", type=int, default=memory_rows.ENTRIES, help="how large the large library is")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = memory_rows.large(options.entries)
    if options.locomo is None:
        print("LoCoMo's rows are left out: name its file with --locomo", file=sys.stderr)
    else:
        rows = [*memory_rows.locomo(options.locomo), *rows]
    rows += dream_rows.pair_rows()
    if options.history:
        rows += dream_rows.path_rows(options.history)
    else:
        print("the rows of renamed files are left out: name repositories with --history", file=sys.stderr)
    rows += dream_whole.rows()
    return present("memory", rows, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
