"""Which entry labels a cohort's labels stand for: names, sides, synonyms, groups, refusals."""

from __future__ import annotations

import pytest

from medvae.anatomy.matching import match
from medvae.errors import UsageError

HEAD = {
    2: "left cerebral white matter",
    3: "left cerebral cortex",
    4: "left lateral ventricle",
    7: "left cerebellum white matter",
    8: "left cerebellum cortex",
    10: "left thalamus",
    14: "3rd ventricle",
    16: "brain-stem",
    17: "left hippocampus",
    24: "CSF",
    41: "right cerebral white matter",
    42: "right cerebral cortex",
    43: "right lateral ventricle",
    46: "right cerebellum white matter",
    47: "right cerebellum cortex",
    49: "right thalamus",
    53: "right hippocampus",
    515: "cortical bone",
    516: "cancellous bone",
}


def found(*names: str, entry=HEAD, **given):
    return match(dict(enumerate(names, 1)), entry, **given)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Brain Stem", (16,)),
        ("brainstem", (16,)),
        ("Left-Hippocampus", (17,)),
        ("hippocampus_R", (53,)),
        ("Hippocampi", (17, 53)),
        ("cerebral cortex", (3, 42)),
        ("rh cortex", (42,)),
        ("Ventricles", (4, 14, 43)),
        ("deep grey matter", (10, 17, 49, 53)),
        ("cerebellum", (7, 8, 46, 47)),
        ("left cerebellum", (7, 8)),
        ("GM", (3, 8, 10, 17, 42, 47, 49, 53)),
        ("csf", (4, 14, 24, 43)),
        ("skull", (515, 516)),
    ],
)
def test_a_name_finds_its_structures(name, numbers):
    assert found(name) == (numbers,)


def test_groups_leave_what_a_narrower_name_has():
    tissues = ("white matter", "cortex", "deep grey matter", "ventricles", "cerebellum")
    assert found(*tissues) == ((2, 41), (3, 42), (10, 17, 49, 53), (4, 14, 43), (7, 8, 46, 47))
    assert found("hippocampus", "deep gray") == ((17, 53), (10, 49))
    assert found("gm", "wm", "csf") == (
        (3, 8, 10, 17, 42, 47, 49, 53),
        (2, 7, 41, 46),
        (4, 14, 24, 43),
    )


def test_the_heart_and_the_brain_have_ventricles_of_their_own():
    heart = {1: "RV", 2: "LV wall", 3: "LV"}
    assert found("right ventricle", "myo", "left ventricle", entry=heart) == ((1,), (2,), (3,))
    with pytest.raises(UsageError, match="no label for left ventricle"):
        found("left ventricle")


def test_parcels_of_the_cortex_are_cortex():
    entry = {100: "right anterior cingulate gyrus", 101: "ctx-lh-insula", 35: "brain stem"}
    assert found("cortex", entry=entry) == ((100, 101),)


def test_numbers_match_where_neither_scheme_has_names():
    assert match({3: "label 3"}, {3: "label 3", 4: "label 4"}) == ((3,),)
    with pytest.raises(UsageError, match="no label for label 3"):
        match({3: "label 3"}, HEAD)


def test_what_is_missing_is_named_with_what_there_is():
    with pytest.raises(UsageError) as refused:
        found("spleen")
    said = str(refused.value)
    assert "spleen" in said
    assert "left cerebral white matter" in said
    assert "anatomy.labels" in said


def test_a_side_that_the_entry_does_not_tell_is_missing():
    with pytest.raises(UsageError, match="no label for left kidney"):
        found("left kidney", entry={1: "kidney"})
    assert found("kidneys", entry={1: "kidney"}) == ((1,),)


def test_two_labels_cannot_stand_for_one():
    with pytest.raises(UsageError, match="both match the label left hippocampus"):
        found("hippocampus", "left hippocampus")


def test_a_declaration_counts_more_than_names():
    declared = {"lesion": ["left thalamus", "right thalamus"]}
    assert found("lesion", "deep grey matter", declared=declared) == ((10, 49), (17, 53))
    with pytest.raises(UsageError, match="no label of the cohort"):
        found("cortex", declared={"spleen": ["CSF"]})
    with pytest.raises(UsageError, match="the label nose"):
        found("cortex", declared={"cortex": ["nose"]})
    with pytest.raises(UsageError, match="no label for cortex"):
        found("cortex", declared={"cortex": []})
