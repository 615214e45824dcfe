"""Names of folders and words of file names that say what is an image, a label map, a contrast."""

# Images beside labels, as the public anatomy library has them.
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
MASK_FOLDERS = frozenset(
    {
        "segmentations",
        "segmentation",
        "seg",
        "segs",
        "masks",
        "mask",
        "labels",
        "label",
        "labelstr",
        "labelsts",
        "labelsval",
        "labelsva",
        "lbl",
        "lbls",
        "annotations",
        "rois",
        "gt",
        "groundtruth",
        "ground_truth",
    }
)
IMAGE_FOLDERS = frozenset(
    {
        "images",
        "image",
        "imagestr",
        "imagests",
        "imagesval",
        "imagesva",
        "imgs",
        "img",
        "scans",
        "scan",
        "volumes",
        "volume",
    }
)
MASK_WORDS = frozenset(
    {
        "seg",
        "segm",
        "segs",
        "segmentation",
        "segmentations",
        "mask",
        "masks",
        "msk",
        "label",
        "labels",
        "labelmap",
        "dseg",
        "gt",
        "groundtruth",
        "roi",
        "rois",
        "aseg",
        "annotation",
    }
)
IMAGE_WORDS = frozenset(
    {
        "image",
        "img",
        "imaging",
        "volume",
        "vol",
        "scan",
        "orig",
        "ct",
        "mr",
        "mri",
    }
)
# Words of file names and of channels that say what was scanned.
MODALITIES = {
    "ct": "ct",
    "pet": "pet",
    "pt": "pet",
    "suv": "pet",
    "mr": "mri",
    "mri": "mri",
    "flair": "mri",
}
# Of MRI alone.
CONTRASTS = frozenset(
    {
        "t1",
        "t1w",
        "t1n",
        "t1c",
        "t1ce",
        "t1gd",
        "t1post",
        "ct1",
        "t2",
        "t2w",
        "t2f",
        "t2star",
        "flair",
        "pd",
        "pdw",
        "dwi",
        "adc",
        "swi",
        "tof",
        "dce",
        "mra",
        "hbv",
        "dti",
        "asl",
    }
)
# Where label maps are, and the scans that they were made of, outside of BIDS.
DERIVED, RAW = "derivatives", "rawdata"
# Of a subject's folder of FreeSurfer: the scan, and the label map of whole structures.
FREESURFER = ("orig.mgz", "aseg.mgz")
