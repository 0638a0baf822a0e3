"""How long a folder of many small images takes to read, and how much memory.

    python benchmarks/folder_memory.py                     # 100,000 images of 32x32, half PNG, half JPEG
    python benchmarks/folder_memory.py --images 20000

Draws the images into a temporary folder, then runs the download stage on them in a process of its own, and prints
the seconds and the peak memory of that process. The limit to keep is 1 GB, whatever the number of images.
"""

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
LIMIT = 10**9  # bytes
CLASSES = 10


def draw_images(folder: Path, count: int) -> None:
    """`count` images in ten classes: 64 of noise on a slope, each a file of its own many times over."""
    rng = np.random.default_rng(0)
    contents = []
    for i in range(64):
        slope = np.linspace(0, 200, 32)[:, None, None] + rng.normal(0, 8, (32, 32, 3)) + rng.uniform(0, 40, 3)
        buffer = io.BytesIO()
        Image.fromarray(slope.clip(0, 255).astype(np.uint8)).save(buffer, "PNG" if i % 2 else "JPEG")
        contents.append((buffer.getvalue(), "png" if i % 2 else "jpg"))
    for c in range(CLASSES):
        (folder / f"class{c}").mkdir(parents=True)
    for i in tqdm(range(count), desc="draw", unit="img", disable=None):
        content, suffix = contents[i % len(contents)]
        (folder / f"class{i % CLASSES}" / f"image{i:07}.{suffix}").write_bytes(content)


def write_params(path: Path, images: Path) -> None:
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["data"] |= {"source": "folder", "path": str(images), "image_size": 32, "n_val": 100}
    yaml.dump(params, path)


@click.command(help=__doc__.split("\n")[0])
@click.option("--images", default=100_000, show_default=True, type=click.IntRange(min=1000), help="how many")
def main(images: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "images", images)
        write_params(folder / "params.yaml", folder / "images")
        command = [sys.executable, "-m", "stages.download", "--folder", str(folder / "raw")]
        command += ["--images", str(folder / "images.h5"), "--params", str(folder / "params.yaml")]
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT)
        seconds = time.perf_counter() - start
        size = (folder / "images.h5").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    click.echo(f"{images:,} images of 32x32 on {os.cpu_count()} processors, {size / 1e6:,.0f} MB written")
    click.echo(f"seconds      {seconds:8.1f}   ({images / seconds:,.0f} images/s)")
    click.echo(f"peak memory  {peak / 1e6:8.0f} MB (limit {LIMIT / 1e6:,.0f} MB)")
    if peak > LIMIT:
        raise click.ClickException("the memory is over the limit")


if __name__ == "__main__":
    main()
