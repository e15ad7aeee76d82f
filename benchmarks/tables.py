"""Rewrite the tables of README.md and docs/ from the JSON files in results/: no number is typed by hand.

python benchmarks/tables.py           rewrite
python benchmarks/tables.py --check   fail where a table is not what the results say
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tfmlc.reproduce.comparison import as_table

REPOSITORY = Path(__file__).parent.parent
PAGES = (
    REPOSITORY / "README.md",
    *sorted(p for d in ("docs", "docs/howto", "docs/reference", "docs/results") for p in (REPOSITORY / d).glob("*.md")),
)
SETS = {
    "gopro_pair": "genuine GoPro pair",
    "gopro": "31 sharp GoPro frames, seeded blur",
    "kodak24": "Kodak, seeded blur",
}
METRICS = {
    "psnr": "PSNR ↑",
    "lpips": "LPIPS ↓",
    "dists": "DISTS ↓",
    "niqe": "NIQE ↓",
    "brisque": "BRISQUE ↓",
}
DIGITS = {"psnr": 3, "lpips": 4, "dists": 4, "niqe": 3, "brisque": 2}


def scores_table() -> str:
    lines = [
        "| images | | " + " | ".join(METRICS.values()) + " |",
        "| --- | --- |" + " ---: |" * len(METRICS),
    ]
    for dataset, title in SETS.items():
        files = {"blurry": "study/{}-blurry", "default": "default/{}-psnr", "default-perceptual": "default/{}"}
        for model, file in files.items():
            mean = _read(f"{file.format(dataset)}.json")["mean"]
            values = [f"{mean[name]:.{DIGITS[name]}f}" if name in mean else "" for name in METRICS]
            shown = title if model == "blurry" else ""
            lines.append(f"| {shown} | {model} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def costs_table() -> str:
    content = json.loads((REPOSITORY / "results" / "bench" / "loss.json").read_text(encoding="utf-8"))
    lines = ["| loss | precision | seconds | extra memory, MiB |", "| --- | --- | ---: | ---: |"]
    for row in content["rows"]:
        values = f"{row['seconds']:.2f} | {row['extra_mib']:.0f}" if "seconds" in row else "not available | "
        lines.append(f"| {row['loss']} | {row['precision']} | {values} |")
    titles = ("times faster than released", "samples at once", "memory of released", "time of the bare products")
    lines += ["", "| | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(titles)]
    for name, ratio in content["ratios"].items():
        over = f"{ratio['over_bare_products']:.2f} x"
        faster = f"{ratio['times_faster']:.1f} x | {ratio['times_faster_at_once']:.1f} x"
        lines.append(f"| {name} | {faster} | {ratio['memory']:.2f} x | {over} |")
    return "\n".join([*lines, "", f"{content['device']}, commit {content['commit']}."])


def adapters_table() -> str:
    lines = [
        "| unseen | distance | within | across | pairs in order | blur/shift | blur/noise | blur/JPEG | periodicity |",
        "| --- | --- |" + " ---: |" * 7,
    ]
    shown: set[tuple[str, str]] = set()
    for path in sorted((REPOSITORY / "results" / "adapt").glob("*.report.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = path.name.split("-")[1]
        for row in content["rows"]:
            adapted = row["distance"].startswith("TFMLC")
            name = f"{row['distance']}, {content['config']['alignment']}" if adapted else row["distance"]
            if (kind, name) in shown:
                continue
            shown.add((kind, name))
            values = [row[key] for key in ("within", "across", "accuracy")]
            ratios = [row[f"to_{key}"] for key in ("shift", "noise", "jpeg")]
            cells = [*(f"{value:.3f}" for value in values), *(f"{value:.2f}" for value in ratios)]
            lines.append(f"| {kind} | {name} | " + " | ".join([*cells, f"{row['periodicity']:.3f}"]) + " |")
    return "\n".join(lines)


def synthesis_table() -> str:
    titles = (
        "processes",
        "windows of a video",
        "speed relative to decoding",
        "extra memory, windows of 15 / 150 frames",
    )
    lines = ["| video | frames from | " + " | ".join(titles) + " |", "| --- | --- |" + " ---: |" * len(titles)]
    device = ""
    for path in sorted((REPOSITORY / "results" / "bench").glob("synthesize-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        peaks = " / ".join(f"{mib} MiB" for mib in content["extra_mib"].values())
        device = f"{content['device']}, commit {content['commit']}."
        for row in content["rows"]:
            numbers = [str(row["processes"]), str(row["triplets"] // row["processes"]), f"{row['relative_speed']:.2f}"]
            lines.append("| " + " | ".join([content["video"], row["source"], *numbers, peaks]) + " |")
    return "\n".join([*lines, "", device])


def steps_table() -> str:
    content = _read("bench/step.json")
    lines = ["| network | loss | seconds | relative to pixels only |", "| --- | --- | ---: | ---: |"]
    lines += [f"| {r['network']} | {r['loss']} | {r['seconds']:.2f} | {r['relative']:.2f} |" for r in content["rows"]]
    precision = content["rows"][0]["precision"]
    return "\n".join(
        [*lines, "", f"One image of 256 px, {precision}, {content['device']}, commit {content['commit']}."]
    )


def blend_factors_table() -> str:
    content = _read("default/onto.json")
    columns = list(content["rows"][0])[1:]
    lines = [
        "| blend factor | " + " | ".join(METRICS[name] for name in columns) + " |",
        "| ---: |" + " ---: |" * len(columns),
    ]
    for row in content["rows"]:
        values = [f"{row[name]:.{DIGITS[name]}f}" for name in columns]
        lines.append(f"| {row['factor']:g} | " + " | ".join(values) + " |")
    return "\n".join([*lines, "", f"{content['images']} images: {content['of']}."])


def blends_table() -> str:
    content = {name: _read(f"default/blends-{name}.json") for name in ("gopro", "reds")}
    titles = ("gain, dB", "periodicity", "most, relative to the input's", "images within 3")
    lines = ["| frames | blend | " + " | ".join(titles) + " |", "| --- | ---: |" + " ---: |" * len(titles)]
    for name, found in content.items():
        for row in found["rows"]:
            values = (f"{row['gain_db']:.2f}", f"{row['periodicity']:.1f}", f"{row['largest_ratio']:.1f}")
            cells = [f"{row['blend']:g}", *values, f"{row['within']} of {row['images']}"]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    before = ", ".join(f"{name} {found['rows'][0]['periodicity_blurry']:.1f}" for name, found in content.items())
    return "\n".join([*lines, "", f"Periodicity of the blurry inputs: {before}."])


def scoring_table() -> str:
    content = _read("bench/evaluate.json")
    lines = ["| models scored together | times faster than the plain loop |", "| ---: | ---: |"]
    lines += [f"| {row['models']} | {row['times_faster']:.2f} |" for row in content["rows"]]
    whole = sum(content["plain_s"].values())
    parts = sorted(((seconds / whole, name) for name, seconds in content["plain_s"].items()), reverse=True)
    listed = ", ".join(f"{name} {part:.0%}" for part, name in parts)
    origin = f"{content['device']}, commit {content['commit']}"
    return "\n".join([*lines, "", f"{content['images']} pairs, {origin}. Of the plain loop's time: {listed}."])


def deblurring_table() -> str:
    content = _read("bench/deblur.json")
    lines = ["| image | precision | tile, px | megapixels a second | extra memory, MiB | relative to fp32, auto |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: |")
    for row in content["rows"]:
        cells = [row["image"], row["precision"], str(row["tile_px"]), f"{row['megapixels_per_s']:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{row['extra_mib']:.0f}", f"{row['times_faster']:.2f}"]) + " |")
    return "\n".join([*lines, "", f"{content['model']}, {content['device']}, commit {content['commit']}."])


def study_table() -> str:
    content = _read("study/summary.json")
    return "\n".join([as_table(content["rows"]), "", f"{content['device']}, commit {content['commit']}."])


def periodicity_table() -> str:
    content = _read("periodicity.json")
    periods = [key for key in content["rows"][0] if key.isdecimal()]
    lines = ["| images | number | " + " | ".join(f"{period} px" for period in periods) + " |"]
    lines.append("| --- | ---: |" + " ---: |" * len(periods))
    for row in content["rows"]:
        values = [" / ".join(f"{value:.1f}" for value in row[period].values()) for period in periods]
        lines.append(f"| {row['images']} | {row['count']} | " + " | ".join(values) + " |")
    origin = f"{content['device']}, commit {content['commit']}"
    return "\n".join([*lines, "", f"Median, what one in ten exceeds, and the most; {origin}."])


def fuzz_table() -> str:
    titles = ("cases", "read", "refused", "faults", "slowest, s", "most memory, MiB")
    lines = ["| spoiled | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(titles)]
    runs = [_read(f"fuzz/{kind}.json") for kind in ("image", "weights", "text", "values", "video")]
    for run in runs:
        counts = (run["cases"], *(run["outcomes"].get(name, 0) for name in ("read", "refused", "fault")))
        cells = [*map(str, counts), f"{run['slowest']['seconds']:.1f}", str(run["peak_mib"])]
        lines.append(f"| {run['kind']} | " + " | ".join(cells) + " |")
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    return "\n".join([*lines, "", f"{sum(run['cases'] for run in runs)} cases, {runs[0]['device']}, commit {commits}."])


def pixels_table() -> str:
    return _by_target(("source", "its pixels"), {(row["source"], row["kind"]): row for row in _formats()}, _pixels_of)


def metadata_table() -> str:
    names = {(name, row["source"]): row for row in _formats() for name in row["metadata"]}
    order = list(dict.fromkeys(name for name, _ in names))
    names = dict(sorted(names.items(), key=lambda item: order.index(item[0][0])))
    return _by_target(("metadata", "of"), names, _metadata_of)


def _by_target(titles: tuple[str, str], names: dict[tuple[str, str], Any], cell_of: Any) -> str:
    targets = list(dict.fromkeys(row["target"] for row in _formats()))
    lines = ["| " + " | ".join((*titles, *targets)) + " |", "| --- | --- |" + " --- |" * len(targets)]
    shown = ""
    for first, second in names:
        cells = [cell_of(first, second, target) for target in targets]
        lines.append("| " + " | ".join(("" if first == shown else first, second, *cells)) + " |")
        shown = first
    return "\n".join(lines)


def _pixels_of(source: str, kind: str, target: str) -> str:
    wanted = (source, kind, target)
    pixels = next(row["pixels"] for row in _formats() if (row["source"], row["kind"], row["target"]) == wanted)
    return str(pixels).replace(": said", "")  # the page says that every change comes with a message


def _metadata_of(name: str, source: str, target: str) -> str:
    rows = [row for row in _formats() if row["source"] == source and row["target"] == target]
    words = {"said": "lost", "made anew": "made again"}
    found = sorted({row["metadata"][name] for row in rows if name in row["metadata"]})
    return ", ".join(words.get(word, word) for word in found)


def _formats() -> list[dict[str, Any]]:
    return _read("formats.json")["rows"]


def _read(name: str) -> Any:
    return json.loads((REPOSITORY / "results" / name).read_text(encoding="utf-8"))


TABLES = {
    "steps": steps_table,
    "study": study_table,
    "scoring": scoring_table,
    "blend factors": blend_factors_table,
    "blends": blends_table,
    "deblurring": deblurring_table,
    "synthesis": synthesis_table,
    "scores": scores_table,
    "costs": costs_table,
    "adapters": adapters_table,
    "periodicity": periodicity_table,
    "fuzz": fuzz_table,
    "pixels": pixels_table,
    "metadata": metadata_table,
}


def filled(text: str) -> str:
    for name, table in TABLES.items():
        if f"<!-- table {name} -->" not in text:
            continue
        pattern = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda found, table=table: found[1] + table() + "\n" + found[2], text)
    return text


def main() -> int:
    stale = [page for page in PAGES if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    if "--check" in sys.argv[1:]:
        for page in stale:
            print(f"{page.relative_to(REPOSITORY)} is not what the results say: python benchmarks/tables.py")
        return len(stale)
    for page in stale:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
