"""Hand the adversary the known pairs of level L2: the originals of the first training images."""

from pathlib import Path

import click

from privpipe.owner.leaking import leak
from privpipe.params import load_params
from privpipe.pipeline.project import hide_raw_images

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@out_path("--leaked")
@params_path
def main(images: str, leaked: str, params_file: str) -> None:
    with stage():
        hide_raw_images(Path(leaked).parent)
        leak(images, leaked, load_params(params_file).attack.pairs)


if __name__ == "__main__":
    main()
