"""All benchmarks, or some of them, one process after the other.

    python -m tests.benchmarks [--slow] [solver scale ranking flow loader] [bigquery]

Without a name all but bigquery are run, which needs an emulator and says more of that than of us.
--slow times all references on all playlists and goes to 200,000 synthetic ones (50,000 with the full recipe), and to
files of 20 million memberships.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SLOW = {
    "solver": ["--subset", "0"],
    "scale": ["--largest", "200000", "--largest-full", "50000"],
    "ranking": [],
    "flow": [],
    "loader": ["--rows", "20000000"],
    "bigquery": ["--largest", "8000000"],
}
ASKED_FOR = {"bigquery"}  # only by name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(SLOW)}")
    parser.add_argument("--slow", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(SLOW):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    for part in arguments.parts or [part for part in SLOW if part not in ASKED_FOR]:
        options = SLOW[part] if arguments.slow else []
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{part}", *options])
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
