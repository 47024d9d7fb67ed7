"""The table of a run of run.py: medians, ratios to nginx paired by round, and the bars."""

import statistics
import sys
import json
from pathlib import Path

# What, which run, which figure; bar and stretch as ratios to nginx.
ROWS = [
    ("p50 at 1 in flight, short, µs", "short at 1", ("us", 0), None),
    ("added p50 at 1 in flight, short, µs", "short at 1", "added", (2.0, 1.5)),
    ("p50 at 1 in flight, 37 KB, µs", "long at 1", ("us", 0), None),
    ("added p50 at 1 in flight, 37 KB, µs", "long at 1", "added", (2.5, 2.0)),
    ("requests a second, 32 in flight, short", "short at 32", ("rate",), (0.65, 0.80)),
    ("requests a second, 32 in flight, 37 KB", "long at 32", ("rate",), (0.50, 0.65)),
    ("processor time, short request, µs", "short at 32", ("cpu_us",), (2.2, 1.6)),
    ("processor time, 37 KB request, µs", "long at 32", ("cpu_us",), None),
    ("processor time, 50-chunk stream, µs", "stream at 32", ("cpu_us",), (2.0, 1.5)),
    ("stream events a second, 32 connections", "stream at 32", ("event_rate",), (0.70, 0.80)),
    ("first chunk p50 at 1 in flight, µs", "first chunk at 1", ("first_us", 0), (1.5, 1.2)),
]
# Figures of which more is better.
RATES = [("rate",), ("event_rate",)]
# Where in the result, its name there, what, bar and stretch in MiB.
MEMORY = [
    ("idle", "resident, idle", (10, 6)),
    ("after 256", "resident after 256 connections", (30, 25)),
    ("with the tokenizer", "the same with the tokenizer", (70, 45)),
    ("after the rounds", "resident after all rounds", None),
]


def text(result):
    """The table in Markdown."""
    runs = result["runs"]
    names = list(dict.fromkeys(it["target"] for it in runs))
    machine = result["machine"]
    others = statistics.median(it["others"] for it in runs)
    lines = [
        f"{machine['date']}, {machine['processors']} x {machine['processor']}, Linux"
        f" {machine['kernel']}, {machine['nginx']}; {result['rounds']} rounds of"
        f" {result['seconds']:g} s; load average {machine['load_before']:.1f} before and"
        f" {machine['load_after']:.1f} after; other programs used {others:.2f} processors (median).",
        "",
        row("", *names, *(f"{it} / nginx" for it in names[2:]), "bar", "stretch", ""),
        "|---|" + "---:|" * (len(names) + len(names[2:]) + 2) + "---|",
    ]
    if result.get("load") == "wrk":
        lines[0] += " Load by wrk."
    if not machine["alone"]:
        lines[0] += " One processor for everything: the ratios say little."
    lines += [measured(it, runs, names) for it in ROWS]
    lines += [resident(it, result["memory"], names) for it in MEMORY]
    blank = [""] * (len(names) - 1 + len(names[2:]) - names.index("gateway"))
    for what, value, bars, unit in [
        ("cold start to the first answer", statistics.median(result["cold_start_ms"]), (50, 25), "ms"),
        ("the program", result["binary_mib"], (16, 12), "MiB"),
    ]:
        cells = [""] * names.index("gateway") + [f"{value:.1f}"] + blank
        lines.append(row(f"{what}, {unit}", *cells, *bars, verdict(value, bars, True)))
    bad = {name: sum(it["bad"] for it in runs if it["target"] == name) for name in names}
    lines += ["", f"Answers that were not right: {', '.join(f'{k} {v}' for k, v in bad.items())}."]
    return "\n".join(lines)


def row(*cells):
    return f"| {' | '.join(str(it) for it in cells)} |"


def figures(runs, name, what, key):
    """The figure of each round."""
    found = {it["round"]: it for it in runs if (it["target"], it["what"]) == (name, what)}
    if key == "added":
        if name == "direct":
            return {}
        direct = figures(runs, "direct", what, ("us", 0))
        own = figures(runs, name, what, ("us", 0))
        return {number: own[number] - direct[number] for number in own}
    if any(key[0] not in it for it in found.values()):
        return {}
    if len(key) == 1:
        return {number: it[key[0]] for number, it in found.items()}
    return {number: it[key[0]][key[1]] for number, it in found.items()}


def measured(spec, runs, names):
    what, run, key, bars = spec
    of = {name: figures(runs, name, run, key) for name in names}
    cells = [number(statistics.median(it.values())) if it else "" for it in of.values()]
    ratios = [to_nginx(of[name], of["nginx"]) for name in names[2:]]
    shown = [f"{it[0]:.2f} [{it[1]:.2f}-{it[2]:.2f}]" if it else "" for it in ratios]
    gateway = ratios[names[2:].index("gateway")]
    aims = [f"{it:g} x" for it in bars] if bars else ["", ""]
    met = verdict(gateway[0], bars, key not in RATES) if bars and gateway else ""
    return row(what, *cells, *shown, *aims, met)


def to_nginx(own, nginx):
    """Median, least and greatest of the rounds' ratios; a round where nginx has none does not count."""
    each = [value / nginx[at] for at, value in own.items() if nginx.get(at, 0) > 0]
    return (statistics.median(each), min(each), max(each)) if each else None


def resident(spec, memory, names):
    place, what, bars = spec
    cells = [f"{memory[place][name]:.1f}" if name in memory[place] else "" for name in names]
    met = verdict(memory[place]["gateway"], bars, True) if bars else ""
    return row(f"{what}, MiB", *cells, *("" for _ in names[2:]), *(bars or ("", "")), met)


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def verdict(value, bars, less_is_better):
    """Which of bar and stretch is met."""
    reached = [value <= it if less_is_better else value >= it for it in bars]
    return "stretch" if reached[1] else "met" if reached[0] else "**not met**"


if __name__ == "__main__":
    print(text(json.loads(Path(sys.argv[1]).read_text())))
