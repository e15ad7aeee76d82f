"""Deblurring many pictures with progress, a line for each, and what failed at the end."""

from __future__ import annotations

from collections.abc import Iterable

from tfmlc.deblur.deblurrer import Deblurrer
from tfmlc.deblur.files import Job, Outcome, run_job
from tfmlc.progress import Steps


def run_jobs(deblurrer: Deblurrer, jobs: Iterable[Job]) -> list[Outcome]:
    """Run jobs in order, a line for each; list at the end what failed, and return it."""
    jobs = list(jobs)
    failed: list[Outcome] = []
    for number, job in enumerate(jobs, start=1):
        with Steps(f"{job.source.name} ({number} of {len(jobs)}), tiles") as progress:
            outcome = run_job(deblurrer, job, on_tile=progress.update)
            progress.say(describe(outcome))
        if outcome.error is not None:
            failed.append(outcome)
    if failed and len(jobs) > 1:
        summary = Steps("")
        summary.say(f"tfmlc: {len(failed)} of {len(jobs)} pictures failed:")
        for outcome in failed:
            summary.say(f"  {outcome.error}")
    return failed


def describe(outcome: Outcome) -> str:
    """One line on what became of a picture."""
    if outcome.error is not None:
        return f"tfmlc: {outcome.error}"
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    change = f"sharpness {outcome.before:.1f} -> {outcome.after:.1f}"
    return f"{outcome.job.source} -> {outcome.job.target}  {change}{notes}"
