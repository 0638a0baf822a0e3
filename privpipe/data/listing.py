"""Which files below a folder are images, and which are not, with the reason.

images, left_out = list_images(Path("photos"))
"""

import os
from dataclasses import dataclass
from pathlib import Path

from privpipe.data.readers.dicom import SIGNATURE as DICOM
from privpipe.errors import PrivpipeError

JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
SUFFIXES = JPEG | {".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".j2k", ".avif", ".dcm"}
UNREAD: dict[str, set[str]] = {  # why files that hold images are not taken
    "HEIC, which is not read; save as PNG, TIFF or JPEG": {".heic", ".heif", ".hif"},
    "a microscope's or scanner's own format; export as OME-TIFF": {
        *(".czi", ".lif", ".lsm", ".nd2", ".oib", ".oif", ".vsi", ".zvi", ".stk", ".ims", ".dv", ".flex", ".lei"),
        *(".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".qptiff"),
    },
    "a volume; export its slices": {".nii", ".mha", ".mhd", ".nrrd", ".mnc", ".hdr", ".img"},
    "raw values of a camera; develop as PNG, TIFF or JPEG": {
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
    },
    "an image of a kind that is not read; save as PNG or TIFF": {
        *(".psd", ".pcx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".exr", ".jxl", ".ico", ".svg", ".eps", ".pdf"),
        *(".fits", ".fit", ".jpx", ".jpf", ".xcf", ".npy", ".npz", ".mat"),
    },
    "an archive; unpack it": {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"},
    "a film; save its frames": {".avi", ".mp4", ".mov", ".mkv"},
}
BY_SUFFIX = {suffix: reason for reason, suffixes in UNREAD.items() for suffix in suffixes}
SYSTEM = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "pspbrwse.jbf", "picasa.ini"}
# Folders in which file servers and systems keep thumbnails, copies and deleted files.
SYSTEM_FOLDERS = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "@recycle", "@sharebin"}
THUMBNAILS = "thumbnails or copies of a file server"
HIDDEN = "hidden"


@dataclass(frozen=True)
class LeftOut:
    """A file that was not taken, and why."""

    path: Path
    reason: str


def find_images(folder: Path) -> list[Path]:
    """The images below a folder, sorted by path; see `list_images`."""
    return list_images(folder)[0]


def list_images(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """The images below a folder by their names (see `is_image`), and what else there is; each sorted by path.

    Hidden files and folders are skipped, links to folders are followed, and a folder that links lead to twice is
    searched once, one above `folder` not at all. A link to a missing image is listed, so that reading it says so.

    Raises:
        PrivpipeError: the folder, or one below it, is missing or may not be listed.
    """

    def refuse(error: OSError) -> None:
        raise PrivpipeError(f"cannot list {error.filename}: {error.strerror}. Check the path and its rights.")

    # A link to a folder above leads to what is not asked for: to the other classes, say.
    seen = {_identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    images: list[Path] = []
    left_out: list[LeftOut] = []
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if (identity := _identity(place)) in seen:
            folders.clear()
            continue
        seen.add(identity)
        left_out += [LeftOut(Path(place, name), THUMBNAILS) for name in folders if name.lower() in SYSTEM_FOLDERS]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in SYSTEM_FOLDERS)
        for name in files:
            path = Path(place, name)
            if is_image(path):
                images.append(path)
            elif reason := why_not(name):
                left_out.append(LeftOut(path, reason))
    return sorted(images, key=str), sorted(left_out, key=lambda one: str(one.path))


def _identity(folder: str | Path) -> tuple[int, int]:
    """What tells folders apart, whatever path leads to them."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image: by its suffix, or, where it has none that is known, as DICOM by content.

    Hospitals' systems name DICOM files by numbers, such as `IM0001` or `1.2.840.113619`.
    """
    if path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    return (not suffix or suffix[1:].isdigit()) and _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == DICOM
    except OSError:
        return False


def why_not(name: str) -> str:
    """Why a file that is no image by its name is not taken; empty for hidden files that would be none anyway."""
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        return HIDDEN if suffix in SUFFIXES else ""
    if name.lower() in SYSTEM:
        return THUMBNAILS
    return BY_SUFFIX.get(suffix, f"no image by its name ({suffix or 'without suffix'})")
