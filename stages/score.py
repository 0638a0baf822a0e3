"""Judge what the attacks brought: reconstructions against originals, found keys against the true one."""

import click

from privpipe.attacks.records import load_records
from privpipe.attacks.suite import load_view
from privpipe.files import write_csv, write_json
from privpipe.owner.keyhome import read_key
from privpipe.owner.perturbing import check_perturbed_with, perturbation
from privpipe.params import load_params
from privpipe.report.figures import save
from privpipe.report.privacy_figures import reconstructions as draw_reconstructions
from privpipe.salt import salt_from
from privpipe.scores.reference_classifier import load_reference_classifier
from privpipe.scores.scoring import COST_COLUMNS, TABLE_COLUMNS, count_copies, judge, load_originals, published
from privpipe.store import RAW
from stages import in_path, out_path, params_path, stage


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
        params = load_params(params_file)
        how, machine = params.attack, params.train
        secret = read_key(key)
        check_perturbed_with(perturbed, secret)
        # One stolen image stands for all: what was learned from them is in the reconstructions.
        view = load_view(perturbed, public, leaked, how.targets, stolen=1)
        originals, labels = load_originals(images, len(view.targets))
        method = perturbation(params.perturb, view.image_size, secret)
        copies = count_copies(images, method)
        recognise = load_reference_classifier(reference_classifier, machine.device, machine.threads)
        found = judge(view, load_records(reconstructions), originals, labels, method, recognise, copies)
        write_json(metrics, published(found.metrics))
        write_csv(table, TABLE_COLUMNS, found.table())
        write_csv(cost_in_images, COST_COLUMNS, found.cost(in_pairs=False))
        write_csv(cost_in_pairs, COST_COLUMNS, found.cost(in_pairs=True))
        salt = salt_from(images, RAW, "reconstructions figure")
        save(draw_reconstructions(originals, view.targets, params.perturb.method, found.images), figure, salt=salt)


if __name__ == "__main__":
    main()
