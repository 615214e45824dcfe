"""The head of a data set's README as Hugging Face reads it: YAML between two lines of dashes."""

from __future__ import annotations

from typing import Any

import yaml

# Its identifiers of licences, which are SPDX in lower case, that data are published under.
_LICENCES = frozenset({
    "afl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "c-uda", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "etalab-2.0", "gfdl", "mit", "odbl", "pddl",
})  # fmt: skip
# Their size classes, by the number of examples that is above them.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
_LARGE = "100K<n<1M"


def head(card: dict[str, Any]) -> str:
    """The head for a card: title, licence, size, tasks and tags."""
    data = card["data"]
    public = data.get("public_images", {})
    tasks = ["image-segmentation"] * bool(data["label_maps"])
    tasks += ["image-classification"] * (data["classes"] != "none")
    facts: dict[str, Any] = {
        "pretty_name": card["name"],
        **_licences([card["license"], *([public["licence"]] if public else [])]),
        "size_categories": [_size(data["volumes"] + public.get("count", 0))],
        **({"task_categories": tasks} if tasks else {}),
        "tags": [
            "medical",
            "synthetic",
            *data.get("modalities", [data["modality"]]),
            *_privacy(card["privacy"]),
        ],
    }
    text: str = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---\n"


def _licences(names: list[str]) -> dict[str, Any]:
    """One licence, or a list of those of the synthetic volumes and of the public images."""
    identifiers = list(dict.fromkeys(name.lower() for name in names))
    if set(identifiers) <= _LICENCES:
        return {"license": identifiers[0] if len(identifiers) == 1 else identifiers}
    text = ", ".join(dict.fromkeys(names))
    return {"license": "other", "license_name": text, "license_link": "LICENSE"}


def _size(count: int) -> str:
    return next((name for limit, name in _SIZES if count < limit), _LARGE)


def _privacy(privacy: dict[str, Any]) -> list[str]:
    return ["differential-privacy"] if "epsilon" in privacy else []
