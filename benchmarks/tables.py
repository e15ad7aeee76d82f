"""Rewrite the tables of README.md and docs/ from the JSON files in results/: no number is typed by hand.

python benchmarks/tables.py           rewrite
python benchmarks/tables.py --check   fail where a table is not what the results say
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tfmlc.evaluation.diagnose import as_table as distances_as_table
from tfmlc.evaluation.diagnose import columns_of
from tfmlc.evaluation.tables import markdown
from tfmlc.reproduce.comparison import as_table

REPOSITORY = Path(__file__).parent.parent
PAGES = (
    REPOSITORY / "README.md",
    *sorted(p for d in ("docs", "docs/howto", "docs/reference", "docs/results") for p in (REPOSITORY / d).glob("*.md")),
)
SETS = {
    "pairs_test": "6 genuine GoPro test pairs",
    "gopro_pair": "genuine GoPro pair",
    "gopro": "31 sharp GoPro frames, seeded blur",
    "kodak24": "Kodak, seeded blur",
}
METRICS = {
    "psnr": "PSNR ↑",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "dists": "DISTS ↓",
    "niqe": "NIQE ↓",
    "brisque": "BRISQUE ↓",
    "periodicity": "periodicity ↓",
}
DIGITS = {"psnr": 2, "ssim": 3, "lpips": 3, "dists": 3, "niqe": 2, "brisque": 1, "periodicity": 1}
MODELS = ("blurry", "previous", "default-psnr", "default")


def scores_table() -> str:
    rows: list[list[str]] = []
    for dataset, title in SETS.items():
        for model in MODELS:
            of_study = model == "blurry" and dataset != "pairs_test"
            mean = _read(f"{'earlier-study' if of_study else 'default'}/{dataset}-{model}.json")["mean"]
            if "periodicity" not in mean:  # it is younger than these files
                mean |= {"periodicity": _read(f"default/{dataset}-{model}-periodicity.json")["mean"]["periodicity"]}
            mean = {
                "psnr": mean.get("gopro-hinet/psnr"),
                "ssim": mean.get("gopro-hinet/ssim", mean.get("ssim_3d")),
                **mean,
            }
            rows.append([title if model == "blurry" else "", model, *_rounded(mean, METRICS)])
    return markdown(["images", "", *METRICS.values()], rows, labels=2)


def gallery_table() -> str:
    """The frames with the largest, the median and the smallest gain of ``default`` on the genuine pairs."""
    metrics = ("psnr", "lpips", "dists", "periodicity")
    before, after = (_read(f"default/pairs_test-{model}.json")["per_image"] for model in ("blurry", "default"))
    gains = {name: row["gopro-hinet/psnr"] - before[name]["gopro-hinet/psnr"] for name, row in after.items()}
    order = sorted(gains, key=gains.__getitem__, reverse=True)
    rows: list[list[str]] = []
    for title, name in (("best", order[0]), ("median", order[(len(order) - 1) // 2]), ("worst", order[-1])):
        for model, scores in (("blurry", before[name]), ("default", after[name])):
            first = [title, Path(name).stem] if model == "blurry" else ["", ""]
            rows.append([*first, model, *_rounded({**scores, "psnr": scores["gopro-hinet/psnr"]}, metrics)])
    return markdown(["gain in PSNR", "frame", "", *(METRICS[key] for key in metrics)], rows, labels=3)


def best_table() -> str:
    content = _read("default/best.json")
    metrics = ("psnr", "lpips", "dists", "periodicity")
    rows = [
        ["--best" if row["best"] else "plain", *_rounded(row, metrics), f"{row['times_slower']:.1f}"]
        for row in content["rows"]
    ]
    table = markdown(["", *(METRICS[metric] for metric in metrics), "time, relative"], rows)
    return _with(f"{content['images']} genuine pairs, {content['device']}, commit {content['commit']}.", table)


def limits_data_table() -> str:
    content = _read("default/limits-data.json")
    rows = [[row["pairs"], row["images"], f"{row['blurry']:.2f}", f"{row['gain_db']:+.2f}"] for row in content["rows"]]
    table = markdown(["pairs", "number", "PSNR, blurry", "gain, dB"], rows)
    return _with(f"{content['model']}, the middle {content['side_px']} px; commit {content['commit']}.", table)


def sources_table() -> str:
    content = _read("default/sources.json")
    names = [gain["pairs"] for gain in content["rows"][0]["gains"]]
    norms = ("gradient_norm_median", "gradient_norm_90")
    rows = [
        [row["run"], *(f"{gain['gain_db']:+.2f}" for gain in row["gains"]), *(f"{row[norm]:.0f}" for norm in norms)]
        for row in content["rows"]
    ]
    titles = ("gradient's norm, median", "90 % quantile")
    table = markdown(["trained on", *(f"gain on {name}, dB" for name in names), *titles], rows)
    return _with(f"The middle {content['side_px']} px; commit {content['commit']}.", table)


def variants_table(path: str = "default/variants.json") -> str:
    content = _read(path)
    rows = [
        [name, f"{run['batch']} of {run['patch_px']} px", run["steps"], *(f"{row['psnr']:.2f}" for row in run["rows"])]
        for name, run in content["variants"].items()
    ]
    table = markdown(["variant", "crops a step", "steps", "PSNR after a third", "two thirds", "the end"], rows)
    what = f"{content['minutes']:g} minutes of one core each, seed {content.get('seed', 0)}"
    note = f"{what}; {content['device']}, commit {content['commit']}."
    return _with(note, table)


def limits_capacity_table() -> str:
    content = _read("default/limits-capacity.json")
    rows = [[row["crops"], f"{row['before_db']:+.2f}", f"{row['after_db']:+.2f}"] for row in content["rows"]]
    training = f"{content['steps']} steps of {content['batch']} crops of {content['crop_px']} px"
    return _with(
        f"{training}; commit {content['commit']}.", markdown(["crops", "gain before, dB", "gain after, dB"], rows)
    )


def limits_time_table(path: str = "default/limits-time.json") -> str:
    content = _read(path)
    rows = [
        [row["run"], row["step"], f"{row['psnr']:.2f}", "" if rate is None else f"{rate:.4f}"]
        for row in content["rows"]
        for rate in [row["learning_rate"]]
    ]
    return _with(f"Commit {content['commit']}.", markdown(["run", "step", "PSNR", "learning rate"], rows))


def curves_table() -> str:
    content = _read("default/curves.json")
    rows: list[list[object]] = []
    for name, found in content["candidates"].items():
        numbers = (f"{found['psnr']:.2f}", f"{found['db_per_doubling']:.2f}", f"{found['psnr_longer']:.2f}")
        rows.append([name, found["million_weights"], f"{found['seconds_per_step']:.2f}", found["steps"], *numbers])
    titles = ("seconds a step", "steps", "PSNR at the end", "dB a doubling", f"PSNR after {content['longer']} times")
    what = f"{content['batch']} crops of {content['patch_px']} px a step, one core"
    table = markdown(["network", "million weights", *titles], rows)
    return _with(f"{what}; {content['device']}, commit {content['commit']}.", table)


def blend_factors_table() -> str:
    content = _read("default/blend-factors.json")
    columns = ("psnr", "lpips", "dists", "periodicity")
    rows = [
        [source, row["model"], *_rounded(row[source], columns)]
        for source in ("gopr0372", "reds")
        for row in content["rows"]
    ]
    note = f"{content['images']} pairs, the middle {content['side_px']} px; commit {content['commit']}."
    return _with(note, markdown(["pairs", "blend factor", *(METRICS[name] for name in columns)], rows, labels=2))


def _rounded(mean: Mapping[str, float], names: Iterable[str]) -> list[str]:
    return [f"{mean[name]:.{DIGITS[name]}f}" if name in mean else "" for name in names]


def costs_table(path: str = "bench/loss.json") -> str:
    content = _read(path)
    costs: list[list[str]] = []
    for row in content["rows"]:
        values = (f"{row['seconds']:.2f}", f"{row['extra_mib']:.0f}") if "seconds" in row else ("not available", "")
        costs.append([row["loss"], row["precision"], *values])
    ratios: list[list[str]] = []
    for name, ratio in content["ratios"].items():
        faster = (f"{ratio['times_faster']:.1f} x", f"{ratio['times_faster_at_once']:.1f} x")
        ratios.append([name, *faster, f"{ratio['memory']:.2f} x", f"{ratio['over_bare_products']:.2f} x"])
    titles = ("times faster than released", "samples at once", "memory of released", "time of the bare products")
    return _with(
        f"{content['device']}, commit {content['commit']}.",
        markdown(["loss", "precision", "seconds", "extra memory, MiB"], costs, labels=2),
        markdown(["", *titles], ratios),
    )


def adapters_table() -> str:
    labels, rows = list[list[str]](), list[dict[str, Any]]()
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
            labels.append([kind, name])
            rows.append(row)
    titles, cells = columns_of(rows)
    lines = [[*label, *numbers] for label, numbers in zip(labels, cells, strict=True)]
    return markdown(["unseen", "distance", *titles], lines, labels=2)


def synthesis_table() -> str:
    titles = (
        "processes",
        "windows of a video",
        "speed relative to decoding",
        "to decoding and tracking",
        "extra memory, windows of 15 / 150 frames",
    )
    rows: list[list[object]] = []
    device = ""
    for path in sorted((REPOSITORY / "results" / "bench").glob("synthesize-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        peaks = " / ".join(f"{mib} MiB" for mib in content["extra_mib"].values())
        device = f"{content['device']}, commit {content['commit']}."
        for row in content["rows"]:
            speeds = (f"{row['relative_speed']:.2f}", f"{row['of_tracking']:.2f}" if "of_tracking" in row else "-")
            numbers = (row["processes"], row["triplets"] // row["processes"], *speeds)
            rows.append([content["video"], row["source"], *numbers, peaks])
    return _with(device, markdown(["video", "frames from", *titles], rows, labels=2))


def steps_table() -> str:
    content = _read("bench/step.json")
    rows = [[row["network"], row["loss"], f"{row['seconds']:.2f}", f"{row['relative']:.2f}"] for row in content["rows"]]
    table = markdown(["network", "loss", "seconds", "relative to the control"], rows, labels=2)
    precision = content["rows"][0]["precision"]
    return _with(f"One image of 256 px, {precision}, {content['device']}, commit {content['commit']}.", table)


def counts_table() -> str:
    content = _read("bench/step_counts.json")
    titles = ("network", "loss", "TFLOP", "for each image, MiB", "fixed, MiB")
    rows = [
        [row["network"], row["loss"], f"{row['tflop']:.2f}", f"{row['image_mib']:.0f}", row["fixed_mib"]]
        for row in content["rows"]
    ]
    return _with(f"One image of {content['rows'][0]['side_px']} px, fp32, counted.", markdown(titles, rows, labels=2))


def scoring_table() -> str:
    content = _read("bench/evaluate.json")
    rows = [[row["models"], f"{row['times_faster']:.2f}"] for row in content["rows"]]
    table = markdown(["models scored together", "times faster than the plain loop"], rows, labels=0)
    whole = sum(content["plain_s"].values())
    parts = sorted(((seconds / whole, name) for name, seconds in content["plain_s"].items()), reverse=True)
    listed = ", ".join(f"{name} {part:.0%}" for part, name in parts)
    origin = f"{content['device']}, commit {content['commit']}"
    return _with(f"{content['images']} pairs, {origin}. Of the plain loop's time: {listed}.", table)


def deblurring_table() -> str:
    content = _read("bench/deblur.json")
    rows: list[list[object]] = []
    for row in content["rows"]:
        numbers = (f"{row['seconds']:.3g}", f"{row['extra_mib']:.0f}", f"{row['times_faster']:.2f} x")
        rows.append([row["model"], row["image"], row["way"], *numbers])
    titles = ("seconds", "extra memory, MiB", "speed of official code")
    table = markdown(["model", "image", "way", *titles], rows, labels=3)
    files = {"fp32": "pairs_test-default", "bf16": "pairs_test-default-bf16"}
    psnr = {way: _read(f"default/{name}.json")["mean"]["gopro-hinet/psnr"] for way, name in files.items()}
    quality = " and ".join(f"{value:.3f} dB in {way}" for way, value in psnr.items())
    return _with(
        f"PSNR of default on 6 genuine pairs: {quality}. {content['device']}, commit {content['commit']}.", table
    )


def speedups_table() -> str:
    content = _read("bench/speedups.json")
    rows = [
        [row["model"], row["way"], f"{row['seconds']:.2f}", f"{row['times_faster']:.2f} x", f"{row['first_s']:.1f}"]
        for row in content["rows"]
    ]
    table = markdown(["model", "way", "seconds", "speed of plain", "first run, s"], rows, labels=2)
    return _with(f"{content['device']}, commit {content['commit']}.", table)


def start_table() -> str:
    content = _read("bench/start.json")
    rows = [[f"`{row['what']}`", f"{row['seconds']:.2f}"] for row in content["rows"]]
    return _with(f"{content['device']}, commit {content['commit']}.", markdown(["command", "seconds"], rows))


def before_after_table() -> str:
    content = _read("bench/before-after.json")
    rows = [
        [row["what"], f"{row['before_s']:.2f}", f"{row['now_s']:.2f}", f"{row['before_s'] / row['now_s']:.2f} x"]
        for row in content["rows"]
    ]
    table = markdown(["what", "before, s", "now, s", "times faster"], rows, labels=1)
    note = f"{content['device']}, commits {content['earlier']} and {content['commit']}."
    return _with(note, table)


def growth_table() -> str:
    content = _read("bench/growth.json")
    rows = [
        [row["what"], f"{row['number']:g}", f"{row['seconds']:.1f}", f"{row['peak_mib']:.0f}"]
        for row in content["rows"]
    ]
    table = markdown(["what grows", "number", "seconds", "peak memory, MiB"], rows, labels=1)
    return _with(f"{content['device']}, commit {content['commit']}.", table)


def matrix_table() -> str:
    content = _read("bench/matrix.json")
    packages = ("python", "torch", "torchvision", "timm", "numpy", "pillow", "pydantic", "typer")
    rows = [
        [
            "sdist" if row["package"].endswith(".gz") else "wheel",
            *(row[name] for name in packages),
            _passed(row["said"]),
        ]
        for row in content["rows"].values()
    ]
    commits = ", ".join(dict.fromkeys(row["commit"] for row in content["rows"].values()))
    table = markdown(["installed from", *packages, "tests passed"], rows, labels=len(packages) + 1)
    return _with(f"{content['device']}, commit {commits}.", table)


def _passed(said: str) -> str:
    found = re.match(r"works: (\d+) passed", said)
    return found[1] if found else said


def scaling_table() -> str:
    content = _read("bench/scaling.json")
    shown = (2, 8, 16, 64)
    cases: dict[tuple[str, ...], dict[int, str]] = {}
    for row in content["rows"]:
        case = row["network"], f"{row['million_weights']:.0f}", row["precision"], str(row["images"]), row["scheme"]
        cases.setdefault(case, {})[row["gpus"]] = f"{row['efficiency']:.2f}"
    titles = ["network", "million weights", "precision", "images a GPU", "scheme"]
    rows = [[*case, *(found[gpus] for gpus in shown)] for case, found in cases.items()]
    assumed, links = content["assumed"], content["assumed"]["links"]
    speeds = ", ".join(f"{speed:g} TFLOP/s in {precision}" for precision, speed in assumed["tflops"].items())
    note = (
        f"Images of {assumed['side_px']} px. Assumed: {speeds}; nodes of {links['node_gpus']} GPUs; "
        f"{links['inside_gb_s']:g} GB/s between GPUs of a node and {links['between_gb_s']:g} GB/s between nodes, "
        f"for each GPU; {links['latency_us']:g} µs for a message. {content['device']}, commit {content['commit']}."
    )
    return _with(note, markdown([*titles, *(f"{gpus} GPUs" for gpus in shown)], rows, labels=5))


def ray_table() -> str:
    content = _read("bench/ray.json")
    names = ("start_s", "photos_per_s", "cpu_s_per_photo", "overhead_ms", "overhead_cpu_ms")
    rows = [[row["by"], *(f"{row[name]:.3g}" for name in names)] for row in content["rows"]]
    titles = (
        "first photo, s",
        "photos a second",
        "processor s a photo",
        "ms an empty item",
        "processor ms an empty item",
    )
    what = f"{content['photos']} photos of {content['size']}, {content['items']} items, {content['workers']} workers"
    load = f"The machine had a load of {content['load']:g} on {content['workers']} cores before"
    warning = ": times and rates changed with that load and rank nothing; processor times are rough, too"
    busy = warning if content["load"] > 1 else ""
    origin = f"{content['device']}, commit {content['commit']}"
    return _with(f"{what}. {load}{busy}. {origin}.", markdown(["by", *titles], rows))


PRICES = (0.02, 0.05)  # of a core-hour, for the estimate only


def million_table() -> str:
    content = _read("bench/ray.json")
    by_ray = content["rows"][-1]
    hours = 1e6 * (content["large_cpu_s"] + by_ray["overhead_cpu_ms"] / 1e3) / 3600
    least_h = 1e6 * by_ray["overhead_ms"] / 1e3 / 3600
    rows = [
        [cores, f"{hours:.0f}", f"{max(hours / cores, least_h):.1f}", *(f"{hours * price:.0f}" for price in PRICES)]
        for cores in (96, 384, 1536)
    ]
    prices = [f"cost at {price:g} a core-hour" for price in PRICES]
    note = (
        f"One photo of {content['large_size']}: {content['large_cpu_s']:g} processor seconds; "
        f"the driver hands out at most {1e3 / by_ray['overhead_ms']:.0f} files a second. "
        f"{content['device']}, commit {content['commit']}."
    )
    return _with(note, markdown(["cores", "core-hours", "hours", *prices], rows, labels=0))


def video_table() -> str:
    content = _read("bench/video.json")
    rows = [
        [
            row["frames"],
            row["size"],
            f"{row['extra_mib']:.0f}",
            f"{row['frames_per_s']:.1f}",
            f"{row['plain_frames_per_s']:.0f}",
        ]
        for row in content["lengths"]
    ]
    titles = ("frames", "size", "extra memory, MiB", "frames a second", "decoded and encoded only")
    return _with(f"{content['model']}, {content['device']}, commit {content['commit']}.", markdown(titles, rows))


def flicker_table() -> str:
    content = _read("bench/video.json")
    rows: list[list[str]] = []
    for found in content["flicker"]:
        rows.append([f"{found['video']}, {found['frames']} frames", "source", f"{found['source']:.2f}", ""])
        rows += [
            [
                "",
                f"{row['strength']:g}",
                f"{row['flicker']:.2f}",
                f"{row['sharpness'] / found['rows'][0]['sharpness']:.3f}",
            ]
            for row in found["rows"]
        ]
    titles = ("video", "temporal", "flicker, levels", "sharpness, relative")
    return _with(f"{content['model']}, commit {content['commit']}.", markdown(titles, rows, labels=2))


def study_table() -> str:
    content = _read("study/summary.json")
    rows = [row for row in content["rows"] if row["set"] == "all sets"]
    return _with(f"{content['device']}, commit {content['commit']}.", as_table(rows))


def study_differences_table() -> str:
    rows = _read("study/summary.json")["differences"]
    shown = [{**row, "set": f"{row['loss']} minus {row['against']}", "loss": row["seeds"]} for row in rows]
    found = [row for row in shown if row["lost_db"] in (0.05, 0.1) and row["niqe"] is not None]
    return as_table(found, titles=("losses", "PSNR", "seeds"))


def study_sets_table() -> str:
    """Each set at one loss of PSNR, for the losses that a reader has to choose from."""
    shown = ("default", "FMLC", "VGG-relu3_3", "LPIPS")
    rows = _read("study/summary.json")["rows"]
    some = [row for row in rows if row["lost_db"] == 0.05 and row["loss"] in shown and row["set"] != "all sets"]
    return as_table(some)


def study_adapters_table() -> str:
    adapters = _read("study/summary.json")["adapters"]
    rows: list[list[object]] = []
    for name in ("shared", "independent", "nuisance"):
        cells = [f"{found['before']:.2f}, {found['after']:.2f}" for found in adapters[name].values()]
        rows.append([name, *cells])
    return markdown(["trained with", *(f"in order, {name}" for name in adapters["shared"])], rows)


def independent_crops_table() -> str:
    content = _read("loss/independent-crops.json")
    rankers = list(dict.fromkeys(row["ranker"] for row in content["rows"]))
    cases: dict[tuple[object, ...], dict[str, str]] = {}
    for row in content["rows"]:
        numbers = f"{row['accuracy']:.2f}, {row['weakest_strongest']:.2f}"
        cases.setdefault((row["side_px"], row["place"], row["own"]), {})[row["ranker"]] = numbers
    rows = [[*case, *(found[ranker] for ranker in rankers)] for case, found in cases.items()]
    note = f"{content['triplets']} triplets with {content['levels']} levels; commit {content['commit']}."
    return _with(note, markdown(["crop, px", "place", "own", *rankers], rows, labels=3))


def loss_candidates_table() -> str:
    content = _read("loss/candidates.json")
    return _with(f"{content['device']}, commit {content['commit']}.", distances_as_table(content["rows"]))


def gradient_grid_table() -> str:
    content = _read("loss/gradient-grid.json")
    found = {(row["loss"], row["offset"]): f"{row['periodicity']:.3f}" for row in content["rows"]}
    rows = [[name, found[name, "none"], found[name, "random"]] for name in dict.fromkeys(name for name, _ in found)]
    table = markdown(["loss", "offset none", "offset random"], rows)
    return _with(f"{content['pairs']} pairs, {content['steps']} steps; commit {content['commit']}.", table)


def periodicity_table() -> str:
    content = _read("periodicity.json")
    periods = [key for key in content["rows"][0] if key.isdecimal()]
    rows: list[list[object]] = []
    for row in content["rows"]:
        values = [" / ".join(f"{value:.1f}" for value in row[period].values()) for period in periods]
        rows.append([row["images"], row["count"], *values])
    table = markdown(["images", "number", *(f"{period} px" for period in periods)], rows)
    origin = f"{content['device']}, commit {content['commit']}"
    return _with(f"Median, what one in ten exceeds, and the most; {origin}.", table)


CHECKS = ("mesh", "halo", "colour", "part", "any")


def guard_table() -> str:
    content = _read("guard.json")
    rows = [
        [row["images"], row["model"], row["count"], *(row[kind] or "" for kind in CHECKS)] for row in content["rows"]
    ]
    total = content["ordinary"]
    note = f"Ordinary results of default (all but adversarial): {total['any']} of {total['count']} have a fault"
    table = markdown(["images", "restored by", "number", *CHECKS], rows, labels=2)
    return _with(f"{note}; {content['device']}, commit {content['commit']}.", table)


def planted_table() -> str:
    rows = [
        [row["images"], row["count"], *(row[kind] or "" for kind in CHECKS)] for row in _read("guard.json")["planted"]
    ]
    return markdown(["planted fault", "number", *CHECKS], rows)


def blurriness_table() -> str:
    content = _read("blurriness.json")
    titles = {
        "pairs_test": "genuine pairs",
        "kodak24, synthesized": "Kodak, blurred by `tfmlc synthesize pairs`",
        "gopro, synthesized": "GoPro frames, blurred by `tfmlc synthesize pairs`",
        "kodak24": "Kodak, seeded motion",
        "gopro": "GoPro frames, seeded motion",
        "gopro, half size": "GoPro frames of half size, seeded motion",
    }
    rows: list[list[object]] = []
    for name, title in titles.items():
        found = content["sets"][name]
        rows.append([title, found["images"], f"{found['auc']:.3f}", *_wrong(found)])
        rows += [
            [f"the same, {row['motion_px']} px", "", f"{row['auc']:.3f}", *_wrong(row)]
            for row in found.get("rows", [])
            if row["motion_px"]
        ]
    columns = ("images", "number", "area under ROC", "sharp called blurred", "blurred called sharp")
    overlaps = [
        f"{titles[name].split(',')[0]} {content['sets'][f'{name}, regions']['median_overlap']:.2f}"
        for name in ("kodak24", "gopro")
    ]
    cells = [f"{content['sets'][f'{name}, regions']['median_auc_of_cells']:.3f}" for name in ("kodak24", "gopro")]
    note = (
        f"The limit is {content['blurry_px']:g} px. Where a box of the image moves, the map's overlap with it "
        f"(intersection over union, median) is: {', '.join(overlaps)}; "
        f"area under ROC of the cells: {', '.join(cells)}. "
        f"Commit {content['commit']}."
    )
    return _with(note, markdown(columns, rows, labels=1))


def _wrong(row: dict[str, float]) -> list[str]:
    return [f"{row[name]:.0%}" for name in ("sharp_called_blurred", "blurred_called_sharp")]


def strength_table() -> str:
    content = _read("strength.json")
    rows = [
        [f"{row['strength']:g}", f"{row['psnr']:.3f}", f"{row['lpips']:.4f}", f"{row['periodicity']:.1f}"]
        for row in content["rows"]
    ]
    said = [
        f"{METRICS[name].split()[0]} {'falls at each step' if falls else 'does not fall at each step'}"
        for name, falls in content["falls_at_each_step"].items()
    ]
    ends = " to ".join(content["ends"])
    note = f"{content['images']} pairs, from {ends}. {'; '.join(said)}. Commit {content['commit']}."
    return _with(note, markdown(["strength", "PSNR ↑", "LPIPS ↓", "periodicity"], rows, labels=0))


def onnx_table() -> str:
    content = _read("onnx.json")
    rows = [
        [
            row["variant"],
            f"{row['megabytes']:.1f}",
            *(f"{row[name]:.2f}" if name in row else "" for name in ("of_torch_db", "psnr")),
            f"{row['seconds']:.2f}",
        ]
        for row in content["rows"]
    ]
    titles = ("variant", "file, MB", "PSNR against fp32, dB", "PSNR against sharp, dB", "processor seconds an image")
    note = (
        f"{content['model']}, {content['images']} crops of {content['size']}; blurry: {content['blurry_psnr']:.2f} dB"
    )
    origin = f"onnxruntime {content['onnxruntime']}, {content['threads']} thread, {content['device']}"
    return _with(f"{note}. {origin}, commit {content['commit']}.", markdown(titles, rows))


def fuzz_table() -> str:
    titles = ("cases", "read", "refused", "faults", "slowest, s", "most memory, MiB")
    rows: list[list[object]] = []
    runs = [_read(f"fuzz/{kind}.json") for kind in ("image", "weights", "text", "values", "video")]
    for run in runs:
        counts = (run["cases"], *(run["outcomes"].get(name, 0) for name in ("read", "refused", "fault")))
        rows.append([run["kind"], *counts, f"{run['slowest']['seconds']:.1f}", run["peak_mib"]])
    commits = ", ".join(dict.fromkeys(commit for run in runs for commit in run.get("commits", [run["commit"]])))
    cases = sum(run["cases"] for run in runs)
    return _with(f"{cases} cases, {runs[0]['device']}, commit {commits}.", markdown(["damaged", *titles], rows))


def kills_table() -> str:
    rows: list[list[object]] = []
    commits: list[str] = []
    for path in sorted((REPOSITORY / "results" / "faults").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "kills" not in content:
            continue
        names = ("kills", "in_start", "rounds", "operations", "files", "differences")
        rows.append([content["job"], *(content[name] for name in names)])
        commits.append(content["commit"])
    titles = ("kills", "of these at the start", "runs to the end", "operations on files", "files", "differences")
    total = sum(int(str(row[1])) for row in rows)
    note = f"{total} kills; commit {', '.join(dict.fromkeys(commits))}."
    return _with(note, markdown(["command", *titles], rows))


def other_faults_table() -> str:
    content = _read("faults/others.json")
    rows = [
        [row["fault"], row["job"], row["case"], row["status"], row["lines"], len(row["differences"])]
        for row in sorted(content["rows"], key=lambda row: (row["fault"], row["job"]))
    ]
    titles = ("command", "case", "exit status", "lines", "differences after the next run")
    note = f"{content['device']}, commit {content['commit']}."
    return _with(note, markdown(["fault", *titles], rows, labels=3))


def pixels_table() -> str:
    return _by_target(("source", "its pixels"), {(row["source"], row["kind"]): row for row in _formats()}, _pixels_of)


def metadata_table() -> str:
    names = {(name, row["source"]): row for row in _formats() for name in row["metadata"]}
    order = list(dict.fromkeys(name for name, _ in names))
    names = dict(sorted(names.items(), key=lambda item: order.index(item[0][0])))
    return _by_target(("metadata", "of"), names, _metadata_of)


def _by_target(titles: tuple[str, str], names: dict[tuple[str, str], Any], cell_of: Any) -> str:
    targets = list(dict.fromkeys(row["target"] for row in _formats()))
    rows: list[list[str]] = []
    shown = ""
    for first, second in names:
        rows.append(["" if first == shown else first, second, *(cell_of(first, second, target) for target in targets)])
        shown = first
    return markdown([*titles, *targets], rows, labels=len(titles) + len(targets))


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


def _with(note: str, *tables: str) -> str:
    return "\n\n".join([*tables, note])


def _read(name: str) -> Any:
    return json.loads((REPOSITORY / "results" / name).read_text(encoding="utf-8"))


TABLES = {
    "steps": steps_table,
    "counts": counts_table,
    "study": study_table,
    "study differences": study_differences_table,
    "study sets": study_sets_table,
    "study adapters": study_adapters_table,
    "independent crops": independent_crops_table,
    "loss candidates": loss_candidates_table,
    "gradient grid": gradient_grid_table,
    "scoring": scoring_table,
    "curves": curves_table,
    "blend factors": blend_factors_table,
    "gallery": gallery_table,
    "best": best_table,
    "limits data": limits_data_table,
    "sources": sources_table,
    "variants": variants_table,
    "variants of another seed": partial(variants_table, "default/variants-seed-1.json"),
    "limits capacity": limits_capacity_table,
    "limits time": limits_time_table,
    "scales": partial(limits_time_table, "default/scales.json"),
    "outliers": partial(limits_time_table, "default/outliers.json"),
    "deblurring": deblurring_table,
    "speedups": speedups_table,
    "start": start_table,
    "before and after": before_after_table,
    "growth": growth_table,
    "matrix": matrix_table,
    "scaling": scaling_table,
    "ray": ray_table,
    "million": million_table,
    "video": video_table,
    "flicker": flicker_table,
    "synthesis": synthesis_table,
    "scores": scores_table,
    "costs": costs_table,
    "costs on avx-512": partial(costs_table, "bench/loss-avx512.json"),
    "adapters": adapters_table,
    "periodicity": periodicity_table,
    "guard": guard_table,
    "planted": planted_table,
    "blurriness": blurriness_table,
    "strength": strength_table,
    "onnx": onnx_table,
    "fuzz": fuzz_table,
    "kills": kills_table,
    "other faults": other_faults_table,
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
