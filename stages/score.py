"""Judge what the attacks brought: reconstructions against originals, found keys against the true one."""

from pathlib import Path

import click

from privpipe.attacks.records import load_records
from privpipe.files import write_csv, write_json
from privpipe.owner.keyhome import read_key
from privpipe.params import load_params
from privpipe.pipeline.steps.score import Inputs, score
from privpipe.salt import salt_from
from privpipe.scores.scoring import COST_COLUMNS, published, table_columns
from privpipe.store import RAW

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@in_path("--key")
@in_path("--perturbed")
@in_path("--public")
@in_path("--leaked")
@in_path("--reconstructions")
@in_path("--reference-classifier")
@out_path("--metrics")
@out_path("--table")
@out_path("--cost-in-images")
@out_path("--cost-in-pairs")
@out_path("--figure")
@params_path
def main(
    images: str,
    key: str,
    perturbed: str,
    public: str,
    leaked: str,
    reconstructions: str,
    reference_classifier: str,
    metrics: str,
    table: str,
    cost_in_images: str,
    cost_in_pairs: str,
    figure: str,
    params_file: str,
) -> None:
    with stage():
        from privpipe.report.figures import save
        from privpipe.report.privacy_figures import reconstructions as draw_reconstructions

        params = load_params(params_file)
        inputs = Inputs(Path(images), Path(public), Path(leaked), Path(reference_classifier))
        records = load_records(reconstructions)
        judgement, originals, targets = score(params, read_key(key), perturbed, inputs, records)
        write_json(metrics, published(judgement.metrics))
        write_csv(table, table_columns(), judgement.table())
        write_csv(cost_in_images, COST_COLUMNS, judgement.cost(in_pairs=False))
        write_csv(cost_in_pairs, COST_COLUMNS, judgement.cost(in_pairs=True))
        salt = salt_from(images, RAW, "reconstructions figure")
        method = params.perturb.method
        save(draw_reconstructions(originals, targets, method, judgement.images), figure, salt=salt)


if __name__ == "__main__":
    main()
