"""Draw the figures and write the page. It holds an original image: it is never pushed."""

from pathlib import Path

import click

from privpipe.params import load_params

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@in_path("--perturbed")
@in_path("--summary")
@click.option("--metrics", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to read")
@click.option(
    "--plots", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder of tables to read"
)
@click.option("--figures", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to write")
@out_path("--page")
@out_path("--times-page")
@params_path
def main(
    images: str,
    perturbed: str,
    summary: str,
    metrics: Path,
    plots: Path,
    figures: Path,
    page: str,
    times_page: str,
    params_file: str,
) -> None:
    with stage():
        from privpipe.report.page import FIGURES, Inputs, draw_figures, write_page, write_times

        inputs = Inputs(Path(images), Path(perturbed), Path(summary), metrics, plots, load_params(params_file))
        paths = {name: figures / f"{name}.png" for name in FIGURES}
        draw_figures(inputs, paths)
        write_page(inputs, paths, Path(page))
        write_times(inputs, Path(times_page))


if __name__ == "__main__":
    main()
