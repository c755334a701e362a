"""`file_kind`: what a file is by its first bytes, for errors about files of another format."""

from __future__ import annotations

from pathlib import Path

_READ = 520

# Where the format's mark stands, the mark, and the name of the format.
_MARKS = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (512, b"\x89HDF\r\n\x1a\n", "an HDF5 file of MATLAB 7.3 or another program"),
    (0, b"II*\0", "a TIFF file"),
    (0, b"MM\0*", "a TIFF file"),
    (0, b"II+\0", "a BigTIFF file"),
    (0, b"MM\0+", "a BigTIFF file"),
    (0, b"NRRD000", "an NRRD file"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\x93NUMPY", "a NumPy file (.npy)"),
    (0, b"PK\x03\x04", "a ZIP archive, such as a NumPy .npz or a zipped Zarr"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file of the format before 7.3"),
    (0, b"\x1f\x8b", "a gzip file: unpack it first"),
    (0, b"BZh", "a bzip2 file: unpack it first"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"CDF\x01", "a NetCDF 3 file"),
    (0, b"CDF\x02", "a NetCDF 3 file"),
    (128, b"DICM", "a DICOM file"),
    (344, b"n+1\0", "a NIfTI file"),
    (208, b"MAP ", "an MRC file"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: run git lfs pull"),
    (0, b"<!DOCTYPE", "a web page, as a failed download leaves"),
    (0, b"<!doctype", "a web page, as a failed download leaves"),
    (0, b"<html", "a web page, as a failed download leaves"),
    (0, b"<?xml", "an XML file"),
    (0, b"{", "JSON text"),
)


def file_kind(path: Path) -> str | None:
    """What the file is, for example "a TIFF file"; None if that is not known or it can't be read.

    An empty file is "empty".
    """
    try:
        with path.open("rb") as file:
            head = file.read(_READ)
    except OSError:
        return None
    if not head:
        return "empty"
    return next((name for at, mark, name in _MARKS if head[at:].startswith(mark)), None)
