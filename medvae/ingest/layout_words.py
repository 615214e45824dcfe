"""Names of folders and words of file names that say what is an image, a label map, a contrast."""

import unicodedata
from collections.abc import Collection

# Images beside labels, as the public anatomy library has them.
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
# In the languages of hospitals, without accents: French, German, Spanish, Italian, Portuguese,
# Dutch, Polish, Russian, Chinese, Japanese, Korean.
_MASKS_ABROAD = """
    masque masques etiquette etiquettes
    maske masken segmentierung segmentierungen segmentationen annotationen beschriftungen
    mascara mascaras segmentacion segmentaciones etiqueta etiquetas anotaciones anotacion
    maschera maschere segmentazione segmentazioni etichetta etichette annotazioni
    segmentacao segmentacoes rotulo rotulos anotacoes anotacao
    masker maskers segmentatie segmentaties annotaties
    maska maski segmentacja segmentacje etykiety
    маска маски сегментация сегментации разметка
    标注 標註 标签 標籤 掩码 掩碼 掩膜 掩模 分割 分割结果 金标准
    マスク ラベル 注釈 セグメンテーション
    마스크 라벨 레이블 분할
"""
_IMAGES_ABROAD = """
    bild bilder aufnahme aufnahmen imagen imagenes immagine immagini imagem imagens
    beeld beelden obraz obrazy изображение изображения снимок снимки
    图像 圖像 影像 原图 原圖 原始图像 画像 이미지 영상
"""
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
    | frozenset(_MASKS_ABROAD.split())
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
    | frozenset(_IMAGES_ABROAD.split())
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
    | frozenset(_MASKS_ABROAD.split())
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
    | frozenset(_IMAGES_ABROAD.split())
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


def is_among(word: str, words: Collection[str]) -> bool:
    """Whether a word of a name is one of `words`, whatever its case and accents."""
    if word.isascii():
        return word.lower() in words
    # Japanese and Korean letters fall apart, too: accents alone are left out.
    apart = unicodedata.normalize("NFD", word.lower())
    bare = "".join(letter for letter in apart if not "\u0300" <= letter <= "\u036f")
    return unicodedata.normalize("NFC", bare) in words
