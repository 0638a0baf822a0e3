"""Images are found in whatever they are packed into."""

import base64
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
import safetensors.numpy
from leaks.decode import decode
from leaks.photos import photographs
from numpy.typing import NDArray
from PIL import Image

SIDE = 24
IMAGE = photographs(1, SIDE, 1)[0]
Pack = Callable[[], bytes]


def image(form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, form, **options)
    return file.getvalue()


def hdf5(value: Any, attribute: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as store:
        if attribute:
            store.attrs["value"] = value
        else:
            store.create_group("deep")["values"] = value
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/some.bin", content)
    return file.getvalue()


def tarred(content: bytes, mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        member = tarfile.TarInfo("some.bin")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, array=array)
    return file.getvalue()


def svg_figure() -> bytes:
    figure, axes = plt.subplots()
    axes.imshow(IMAGE, interpolation="none")
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    plt.close(figure)
    return file.getvalue()


def onnx_model() -> bytes:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(IMAGE.astype(np.float32), "weight")
    graph = onnx.helper.make_graph([], "graph", [], [], [tensor])
    return bytes(onnx.helper.make_model(graph, producer_name="onnx").SerializeToString())


def csv(array: NDArray[Any]) -> bytes:
    return b"a,b\n" + "\n".join(",".join(map(str, row)) for row in array).encode()


uri = "data:image/png;base64," + base64.b64encode(image()).decode()
floats = IMAGE.astype(np.float32) / 255
PACKED: dict[str, Pack] = {
    "png": image,
    "bmp": lambda: image("BMP"),
    "tiff": lambda: image("TIFF"),
    "gif": lambda: image("GIF"),
    "webp": lambda: image("WEBP", lossless=True),
    "html": lambda: f"<p>text</p><img src='{uri}'>".encode(),
    "css": lambda: f"a {{ background: url({uri}) }}".encode(),
    "svg of matplotlib": svg_figure,
    "svg in a data URI in html": lambda: f'<img src="data:image/svg+xml,{quote(svg_figure())}">'.encode(),
    "base64 in json": lambda: json.dumps({"a": [{"b": base64.b64encode(image()).decode()}]}).encode(),
    "base64 in lines": lambda: b"image:\n" + base64.encodebytes(image()),
    "numbers in json": lambda: json.dumps({"a": {"b": floats.tolist()}}).encode(),
    "flat numbers in json": lambda: json.dumps([["x"], IMAGE.ravel().tolist()]).encode(),
    "rows in csv": lambda: csv(IMAGE.reshape(1, -1)),
    "one column of csv": lambda: csv(np.stack([np.arange(IMAGE.size), IMAGE.ravel()], 1)),
    "hdf5": lambda: hdf5(IMAGE[None]),
    "hdf5 behind a user block": lambda: hdf5(IMAGE[None], userblock_size=512),
    "hdf5, channels first": lambda: hdf5(np.moveaxis(floats, -1, 0)[None]),
    "hdf5, flat": lambda: hdf5(IMAGE.reshape(1, -1)),
    "hdf5, float16": lambda: hdf5(floats.astype(np.float16)),
    "hdf5 attribute": lambda: hdf5(IMAGE[..., 0], attribute=True),
    "zip in hdf5": lambda: hdf5(np.frombuffer(zipped(image()), np.uint8)),
    "opaque bytes in hdf5": lambda: hdf5(np.void(zipped(image()))),
    "npy": lambda: npy(IMAGE),
    "npz": lambda: npz(floats),
    "zip in zip": lambda: zipped(zipped(image())),
    "gzip": lambda: gzip.compress(image()),
    "xz": lambda: lzma.compress(image()),
    "tar": lambda: tarred(image(), "w"),
    "tar.gz": lambda: tarred(npy(IMAGE)),
    "safetensors": lambda: safetensors.numpy.save({"weight": floats[None]}),
    "safetensors metadata": lambda: safetensors.numpy.save(
        {"weight": np.zeros(1)}, {"note": base64.b64encode(image()).decode()}
    ),
    "png in the text of a png": lambda: image(pnginfo=text_chunk(uri)),
    "onnx": onnx_model,
}


def text_chunk(text: str) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", text)
    return info


def likeness(one: NDArray[Any]) -> float:
    """The best correlation of a channel of an image that was found with one of IMAGE."""
    if one.shape[:2] != IMAGE.shape[:2]:
        return 0.0
    rows = [plane.ravel() for plane in np.moveaxis(np.atleast_3d(one), -1, 0) if plane.std()]
    known = np.moveaxis(IMAGE, -1, 0).reshape(3, -1)
    return max((float(np.corrcoef(row, channel)[0, 1]) for row in rows for channel in known), default=0.0)


@pytest.mark.parametrize("form", PACKED)
def test_an_image_is_found_in_every_form(form: str) -> None:
    decoded = decode("some", PACKED[form](), [SIDE])
    assert decoded.unread == []
    assert max(likeness(image) for _, image in decoded.images) > 0.9


def test_what_cannot_be_read_is_listed_and_pickles_are_not_loaded() -> None:
    for content in (pickle.dumps(IMAGE), b"\x00\x01nonsense\xff", image()[:100], b"\x89HDF\r\n\x1a\nhalf"):
        decoded = decode("odd.bin", content, [SIDE])
        assert len(decoded.unread) == 1 and "odd.bin" in decoded.unread[0], content[:8]


@pytest.mark.parametrize("content", [b"", b"plain text\n", b'{"a": [1, 2, 3]}', b"a,b\n1,2\n"])
def test_what_holds_no_image_gives_none(content: bytes) -> None:
    decoded = decode("notes.txt", content, [SIDE])
    assert (decoded.images, decoded.unread) == ([], [])
