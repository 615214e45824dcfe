"""Cohorts and rows of the anatomy benchmark."""

from organs.cohorts import heads, heart, hippocampus, nodules
from organs.crops import brain_stem, deep_grey

COHORTS = {
    "heads": heads,
    "heart": heart,
    "hippocampus": hippocampus,
    "brain-stem": brain_stem,
    "deep-grey": deep_grey,
    "nodules": nodules,
}
