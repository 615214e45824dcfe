"""The public anatomy library: people whose data are public, with source, licence and digests."""

from medvae.anatomy.collection.alignment import AlignedEntry, align
from medvae.anatomy.collection.entries import Entry, FileDigest, Person
from medvae.anatomy.collection.groupwise import Group, align_group
from medvae.anatomy.collection.labels import label_scheme, unnamed
from medvae.anatomy.collection.people import PersonMaps
from medvae.anatomy.collection.store import Library

__all__ = [
    "AlignedEntry",
    "Entry",
    "FileDigest",
    "Group",
    "Library",
    "Person",
    "PersonMaps",
    "align",
    "align_group",
    "label_scheme",
    "unnamed",
]
