#!/usr/bin/env python3
"""Prints the functions of a program in the order in which they should lie; scripts/dist.sh runs this.

    scripts/order.py LLVM-PROFDATA START.profdata USE.profdata

First those that a start with a request runs, then those that anything else has run, each the busiest
first. What never ran comes after all of these, so that the system need not bring it into memory.
"""

import re
import subprocess
import sys


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    tool, *profiles = sys.argv[1:]
    start, use = [counts(tool, profile) for profile in profiles]
    busiest = lambda name: -use.get(name, 0)
    print("\n".join(sorted(start, key=busiest) + sorted(use.keys() - start.keys(), key=busiest)))


def counts(tool, profile):
    """How much each function did, where it did anything."""
    command = [tool, "show", "--all-functions", "--counts", profile]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, name = {}, None
    for line in shown.splitlines():
        if it := re.fullmatch(r"  (\S.*):", line):
            # What is not seen outside its file has the file's name before its own.
            name = it[1].rpartition(";")[2]
        elif it := re.fullmatch(r"    (?:Block counts: \[(.*)\]|Function count: (.*))", line):
            count = sum(int(number) for number in (it[1] or it[2] or "").split(", ") if number)
            if count:
                found[name] = found.get(name, 0) + count
    if not found:
        sys.exit(f"{profile} tells of nothing that ran")
    return found


if __name__ == "__main__":
    main()
