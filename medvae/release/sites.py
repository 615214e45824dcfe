"""What the card, its text and the report say of sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medvae.release.facts import ReleaseFacts

# The surest differences that are listed.
MOST: Final = 20
LIMIT: Final = (
    "A site says whose grey values and texture a volume was drawn with: shape and frequency of "
    "findings are those of all sites together, and a site of few patients is shrunk toward them."
)


def of_card(facts: ReleaseFacts) -> dict[str, Any]:
    """`sites` of card.json, from released numbers alone; nothing without sites."""
    if not facts.data.sites:
        return {}
    differences = [
        difference for difference in facts.sites.get("differences", ()) if difference["differs"]
    ]
    differences.sort(
        key=lambda difference: (
            -abs(difference["difference"]) / max(difference["noise"], difference["chance"])
        )
    )
    names = list(facts.data.sites)
    return {
        "sites": {
            "names": names,
            "compared": len(facts.sites.get("differences", ())),
            "differing": len(differences),
            "note": "Column site of participants.tsv: the site (declared) that a volume was drawn "
            "as; how large sites are and what they differ by was released under the budget. "
            "Differences of a site's mean from that of all sites, in standard deviations of all "
            "patients; noise: what the mechanism added; chance: who happened to be scanned, at "
            f"most. Level {facts.sites.get('level', 0.05):g} for all comparisons together.",
            "differences": [
                {
                    key: difference[key]
                    for key in ("site", "statistic", "difference", "noise", "chance")
                }
                for difference in differences[:MOST]
            ],
        }
    }


def sentence(sites: Mapping[str, Any]) -> str:
    """How many differences there are, for people."""
    count = len(sites["differences"])
    beyond = f"; the {count} surest are listed" if count < sites["differing"] else ""
    return (
        f"{sites['differing']} of {sites['compared']} statistics of the sites "
        f"{', '.join(sites['names'])} differ by more than noise and chance explain{beyond}."
    )
