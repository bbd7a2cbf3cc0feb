"""The nouns of farm: frozen, tuples inside, JSON both ways.

A job file is the wire format between the coordinator and its workers, a manifest the one
between today and the verification of years later; both are these types as JSON.
"""

from __future__ import annotations

from farm.model.build import (
    CORES,
    Attempt,
    Built,
    Compiler,
    Demand,
    Failed,
    Former,
    Going,
    Job,
    Limits,
    Manifest,
    Outcome,
    Phase,
    Result,
    Skipped,
    Usage,
    WorkOrder,
)
from farm.model.chroot import LAYER, Chroot, Lock, LockedPackage, Repository
from farm.model.layer import Evaluation, Group, Layer, Recipe, RecipeFile, SourceFile
from farm.model.noun import Noun, T, digest_of, from_json, repeated_name, rfc3339, to_json
from farm.model.package import Nevra, Package, SignedPackage
from farm.model.plan import Plan, Step
from farm.model.snapshot import Snapshot, SnapshotEntry
from farm.model.verdict import Problem, Verdict, Waiver

__all__ = [
    "CORES",
    "LAYER",
    "Attempt",
    "Built",
    "Chroot",
    "Compiler",
    "Demand",
    "Evaluation",
    "Failed",
    "Former",
    "Going",
    "Group",
    "Job",
    "Layer",
    "Limits",
    "Lock",
    "LockedPackage",
    "Manifest",
    "Nevra",
    "Noun",
    "Outcome",
    "Package",
    "Phase",
    "Plan",
    "Problem",
    "Recipe",
    "RecipeFile",
    "Repository",
    "Result",
    "SignedPackage",
    "Skipped",
    "Snapshot",
    "SnapshotEntry",
    "SourceFile",
    "Step",
    "T",
    "Usage",
    "Verdict",
    "Waiver",
    "WorkOrder",
    "digest_of",
    "from_json",
    "repeated_name",
    "rfc3339",
    "to_json",
]
