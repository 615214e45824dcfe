"""The public anatomy library: people whose data are public, with source, licence and digests."""

from medvae.anatomy.library.alignment import AlignedEntry, align
from medvae.anatomy.library.entries import Entry, FileDigest, Person
from medvae.anatomy.library.groupwise import Group, align_group
from medvae.anatomy.library.labels import label_scheme, unnamed
from medvae.anatomy.library.people import PersonMaps
from medvae.anatomy.library.store import Library

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
