"""Names of anatomical structures that mean the same, and names of groups of structures.

Public tables, of the schemes that are in common use: FreeSurfer, SynthSeg, SAMSEG, MUSE, and the
cardiac and abdominal challenges. `medvae.anatomy.matching` says how they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Other names -> the name used here. Sides are written out ("left ventricle").
SYNONYMS: Final = {
    "gm": "gray matter",
    "wm": "white matter",
    "cerebral wm": "cerebral white matter",
    "cerebrum white matter": "cerebral white matter",
    "cerebral gm": "cortex",
    "cerebral cortex": "cortex",
    "cortical gray matter": "cortex",
    "cortical gm": "cortex",
    "cerebral gray matter": "cortex",
    "cerebrospinal fluid": "csf",
    "brainstem": "brain stem",
    "deep gm": "deep gray matter",
    "deep gray": "deep gray matter",
    "subcortical gray matter": "deep gray matter",
    "subcortical gray": "deep gray matter",
    "subcortical gm": "deep gray matter",
    "ventricular system": "ventricles",
    "cerebral ventricles": "ventricles",
    "third ventricle": "3rd ventricle",
    "fourth ventricle": "4th ventricle",
    "fifth ventricle": "5th ventricle",
    "inf lat vent": "inferior lateral ventricle",
    "inf lat ventricle": "inferior lateral ventricle",
    "temporal horn": "inferior lateral ventricle",
    "thalamus proper": "thalamus",
    "caudate nucleus": "caudate",
    "globus pallidus": "pallidum",
    "accumbens": "accumbens area",
    "nucleus accumbens": "accumbens area",
    "ventral diencephalon": "ventral dc",
    "cerebellar cortex": "cerebellum cortex",
    "cerebellum gray matter": "cerebellum cortex",
    "cerebellar gray matter": "cerebellum cortex",
    "cerebellum exterior": "cerebellum cortex",
    "cerebellar white matter": "cerebellum white matter",
    "cerebellum wm": "cerebellum white matter",
    "hippocampi": "hippocampus",
    "scalp": "skin",
    "eye": "eyeball",
    "compact bone": "cortical bone",
    "bone marrow": "cancellous bone",
    "spongy bone": "cancellous bone",
    "rv": "right ventricle",
    "right ventricle cavity": "right ventricle",
    "right ventricular cavity": "right ventricle",
    "rv cavity": "right ventricle",
    "lv": "left ventricle",
    "left ventricle cavity": "left ventricle",
    "left ventricular cavity": "left ventricle",
    "left ventricle blood pool": "left ventricle",
    "lv cavity": "left ventricle",
    "lv blood pool": "left ventricle",
    "myo": "myocardium",
    "lvm": "myocardium",
    "lv wall": "myocardium",
    "lv myo": "myocardium",
    "lv myocardium": "myocardium",
    "left ventricle wall": "myocardium",
    "left ventricle myocardium": "myocardium",
    "left ventricular myocardium": "myocardium",
    "la": "left atrium",
    "ra": "right atrium",
}


@dataclass(frozen=True)
class Group:
    """A name that stands for several structures.

    Attributes:
        members: names of structures.
        rank: where two names claim a structure, the one of the lower rank has it; a structure's
            own name has rank 0.
        pattern: further members, by what occurs in their names.
    """

    members: tuple[str, ...]
    rank: int = 1
    pattern: re.Pattern[str] | None = None


# Parcels of the cerebral cortex: gyri, lobes, opercula and what atlases name without such a word.
_CORTICAL: Final = re.compile(
    r"\bctx\b|\bgyrus\b|\bgyri\b|\bsulcus\b|\blobe\b|\blobule\b|operculum|\bpole\b|cuneu|\binsula\b"
    r"|cingulate|entorhinal|orbitofrontal|parsopercular|parstriangular|parsorbital|\bplanum\b"
)
_VENTRICLES: Final = (
    "lateral ventricle",
    "inferior lateral ventricle",
    "3rd ventricle",
    "4th ventricle",
    "5th ventricle",
    "choroid plexus",
    "inferior choroid plexus",
)
_GANGLIA: Final = ("caudate", "putamen", "pallidum", "accumbens area")
_LIMBIC: Final = ("hippocampus", "amygdala", "basal forebrain")
_WHITE: Final = ("cerebral white matter", "corpus callosum", "fornix", "lesion", "internal capsule")
_CEREBELLUM: Final = ("cerebellum cortex", "cerebellum white matter", "cerebellar vermis")
_DEEP: Final = (*_GANGLIA, *_LIMBIC, "basal ganglia", "thalamus", "ventral dc", "claustrum")

GROUPS: Final = {
    "cortex": Group((), pattern=_CORTICAL),
    "ventricles": Group(_VENTRICLES),
    "lateral ventricle": Group(("choroid plexus",), 2),
    "inferior lateral ventricle": Group(("inferior choroid plexus",), 2),
    "basal ganglia": Group(_GANGLIA),
    "deep gray matter": Group(_DEEP, 2),
    "cerebellum": Group(
        _CEREBELLUM, pattern=re.compile(r"\bcerebell(um|ar)\b|\bvermis\b|\bvermal\b")
    ),
    "brain stem": Group(("midbrain", "pons", "medulla", "medulla oblongata")),
    "white matter": Group((*_WHITE, "cerebellum white matter"), 3),
    "cerebral white matter": Group(("corpus callosum", "fornix", "lesion"), 2),
    "gray matter": Group(("cortex", *_DEEP, "cerebellum cortex"), 3, _CORTICAL),
    "csf": Group(("ventricles", *_VENTRICLES), 3),
    "bone": Group(("cortical bone", "cancellous bone"), 1),
    "skull": Group(("bone", "cortical bone", "cancellous bone"), 1),
}
