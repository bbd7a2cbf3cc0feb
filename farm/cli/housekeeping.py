"""The verbs about farm itself: its records, its configuration, its machine."""

from __future__ import annotations

import click

from farm import config as configuration
from farm.cli.options import (
    CONTEXT,
    Farm,
    farm,
    option_json,
    pass_farm,
    watched,
)
from farm.lazily import lazily
from farm.rebuild.remote import work_at
from farm.screens.text import say

with lazily():  # a command reads what it needs: all together they take a quarter of a second
    from farm import collection, pipeline
    from farm.screens import housekeeping as screens


@farm.group(context_settings=CONTEXT)
def ledger() -> None:
    """What was built, when, from what."""


@ledger.command("rebuild", context_settings=CONTEXT)
@pass_farm
def ledger_rebuild(farm: Farm) -> None:
    """Restore results and counters from the published tree when the ledger is lost."""
    restored = watched(False, lambda emit: pipeline.ledger_rebuild(farm.config, emit))
    say(f"restored {restored} results from {farm.config.path('publication')}")


@farm.command(context_settings=CONTEXT)
@click.option("--dry-run", is_flag=True, help="Say what would be removed and why; remove nothing.")
@click.option(
    "--bases", is_flag=True, help="Old embedded bases in the cache as well: other clones share it."
)
@option_json
@pass_farm
def gc(farm: Farm, dry_run: bool, bases: bool, as_json: bool) -> None:
    """Remove what nothing reaches any more; the ledger's figures stay.

    What is published within its retention (keep_* of [publish]), what stands, and what these
    were built from stays.
    """
    request = collection.GcRequest(dry_run, bases)
    report = watched(as_json, lambda emit: pipeline.gc(farm.config, request, emit))
    screens.show_collection(report, as_json=as_json)


@farm.command("config", context_settings=CONTEXT)
@option_json
@pass_farm
def show_config(farm: Farm, as_json: bool) -> None:
    """What is in force, and from where."""
    screens.show_config(tuple(configuration.in_force(farm.config)), as_json=as_json)


@farm.command(context_settings=CONTEXT)
@option_json
@pass_farm
def doctor(farm: Farm, as_json: bool) -> int:
    """What this machine lacks, with the remedy for each."""
    findings = pipeline.examine(farm.config)
    screens.show_findings(findings, as_json=as_json)
    return 6 if any(finding.severity == "missing" for finding in findings) else 0


@farm.command("work", context_settings=CONTEXT)
@click.argument("job", metavar="JOB.json|http://HOST:PORT/ATTEMPT")
def work(job: str) -> None:
    """One attempt, from its job file or from a coordinator that offers it (started by the
    engines)."""
    work_at(job)
