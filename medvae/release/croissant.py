"""Croissant 1.0 metadata (MLCommons): the data set as machines look for it."""

from __future__ import annotations

from typing import Any

from medvae.release.tables import of_public

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


_NUMBER = "Number of the sample; stands for no person."
_MIXED_NUMBER = "Number of the sample; of a synthetic one it stands for no person."
_PERSONAL = "None of a person: see card.json for the guarantee."
_MIXED_PERSONAL = (
    "The public images show persons, as their source published them; nothing else is of a person: "
    "see card.json for the guarantee."
)


def croissant(
    card: dict[str, Any], *, images: str, labels: str | None, encoding: str, table_sha256: str
) -> dict[str, Any]:
    """The JSON-LD.

    Args:
        images, labels: globs relative to the release.
        encoding: media type of the images and of the label maps.
        table_sha256: of participants.tsv.
    """
    files: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": "participants",
            "name": "participants",
            "description": "One line for each synthetic volume.",
            "contentUrl": "participants.tsv",
            "encodingFormat": "text/tab-separated-values",
            "sha256": table_sha256,
        },
        _file_set("images", "The synthetic volumes.", images, encoding),
    ]
    if labels is not None:
        files.append(_file_set("labels", "Their label maps.", labels, encoding))
    if "structures" in card["data"]:
        contours = str(card["data"]["structures"])
        files.append(_file_set("structures", "The label maps as contours.", contours, encoding))
    names = card["data"].get("modalities", [card["data"]["modality"]])
    kinds = " and ".join(name.upper() for name in names)
    public = card["data"].get("public_images")
    if public is not None:
        about = f"{public['count']} images of public people; source: {public['source']}."
        files.append(_file_set("public-images", about, of_public(images), encoding))
        if labels is not None:
            about = "Label maps of the public images."
            files.append(_file_set("public-labels", about, of_public(labels), encoding))
    columns = [_column("participant_id", _NUMBER if public is None else _MIXED_NUMBER, "sc:Text")]
    if public is not None:
        columns.append(_column("origin", "Whether it is synthetic or public.", "sc:Text"))
    if card["data"]["classes"] != "none":
        columns.append(_column("class", "What the volume was generated as.", "sc:Integer"))
    if "sites" in card["data"]:
        columns.append(_column("site", "Whose grey values the volume has.", "sc:Text"))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": card["name"],
        "description": f"Synthetic {kinds} volumes. "
        f"{card['privacy']['summary']} Not for diagnosis or treatment.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "citeAs": f"{card['name']}, version {card['version']}, signed by {card['signer']}",
        "license": card["license"] if public is None else [card["license"], public["licence"]],
        "version": card["version"],
        "datePublished": card["created"],
        "isLiveDataset": False,
        "keywords": ["synthetic data", "differential privacy", "medical imaging"],
        "rai:dataLimitations": card["known_limits"],
        "rai:dataUseCases": card["intended_use"],
        "rai:personalSensitiveInformation": _PERSONAL if public is None else _MIXED_PERSONAL,
        "distribution": files,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "synthetic",
                "name": "synthetic",
                "description": "The synthetic volumes."
                if public is None
                else "The synthetic volumes and the public images.",
                "field": columns,
            }
        ],
    }


def _column(name: str, description: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"synthetic/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": "participants"}, "extract": {"column": name}},
    }


def _file_set(name: str, description: str, pattern: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": encoding,
        "includes": pattern,
    }
