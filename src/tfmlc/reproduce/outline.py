"""The plan of a table: what each cell needs, where to get it, what it costs, and whether it can run."""

from __future__ import annotations

from pathlib import Path

from tfmlc.reproduce.cells import Cell, TableName, cells_of
from tfmlc.reproduce.estimate import estimate, slowness
from tfmlc.reproduce.inputs import GridConfig, check_folders, inputs_of

BASIS = """\
All hours and sizes are estimates: steps were counted, and timed on a CPU; no GPU was timed.
Hours: steps x patches x operations of a patch, counted in fp32 by tfmlc bench step --count, at {tflops:g} TFLOP/s.
An operation of MPRNet lite counts {slowness:.1f} times, because it took so much longer on a CPU (tfmlc bench step).
The default, 6.8, is 35 % of the 19.5 TFLOP/s that NVIDIA states for an A100 in fp32; 35 % is an assumption.
For another GPU, set tflops=NUMBER to what it sustains. TF32 and bf16 are faster than this.
Memory: weights, gradients, Adam's averages, the weights of the loss, and what a step keeps for its backward pass in
fp32. The reserve of the allocator and of CUDA comes on top; loop.accumulate=2 in train=[...] halves what a step keeps.
Not included: the adapters, and scoring."""


def outline(table: TableName, config: GridConfig, output: Path) -> str:
    """Return the plan of a table as text; nothing is computed or downloaded.

    Args:
        table: The table.
        config: The settings.
        output: The folder of the scores, where finished cells are found.

    Returns:
        The basis of the estimates, the cells, and the sum.

    Raises:
        UserError: If a folder of the settings does not exist.
    """
    check_folders(config)
    cells = cells_of(table, config.backbone)
    runs = {cell.run.name: cell.run for cell in cells}
    done = {cell.name for cell in cells if (output / f"{cell.name}.json").exists()}
    estimates = {name: estimate(run, config) for name, run in runs.items()}
    lines = [f"{table}: {len(cells)} cells of {len(runs)} training runs, {len(done)} finished.", ""]
    lines += [BASIS.format(tflops=config.tflops, slowness=slowness("mprnet-lite")), ""]
    shown: set[str] = set()
    for cell in cells:
        lines += _cell(cell, config, finished=cell.name in done, again=cell.run.name in shown)
        shown.add(cell.run.name)
    known = [found.hours for found in estimates.values() if found is not None]
    rest = "" if len(known) == len(runs) else f", and {len(runs) - len(known)} runs whose cost is not known"
    return "\n".join([*lines, "", f"All runs together: about {sum(known):.0f} hours of one GPU{rest}."])


def _cell(cell: Cell, config: GridConfig, *, finished: bool, again: bool) -> list[str]:
    needed = inputs_of(cell, config)
    lacks = sum(one.place is None for one in needed)
    state = "finished" if finished else f"{lacks} inputs are missing" if lacks else "can run"
    title, run = f"{cell.name}: {state}", cell.run.name
    if again:
        return [title, f"  run: {run}, as above", *(f"  {one.explain()}" for one in needed if one.name == cell.dataset)]
    found = estimate(cell.run, config)
    if found is None:
        cost = "its cost is not known, because tfmlc bench step --count does not cover this loss"
    else:
        patches = f"{found.batch_size} patch{'es' if found.batch_size > 1 else ''} of {found.patch_px} px"
        cost = f"{found.steps} steps of {patches}, about {found.hours:.1f} GPU hours and {found.memory_gib:.1f} GiB"
    return [title, f"  run: {run}, {cost}", *(f"  {one.explain()}" for one in needed)]
