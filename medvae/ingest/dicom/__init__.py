"""DICOM series into volumes (runs in the sandboxed worker only; the one door to pydicom)."""
