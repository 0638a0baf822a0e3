"""`privpipe key`: making, showing, copying and replacing keys."""

from pathlib import Path

import click

from privpipe.cli.console import FILE, exit_with, kind_of, readable_option, warn_of_research_key
from privpipe.errors import PrivpipeError

REFERENCE = Path("data/private/key.json")


@click.group()
def key() -> None:
    """Make a secret key, show what can be told of one, and keep copies of those that the pipeline made.

    The pipeline's real keys lie in the key home: $PRIVPIPE_KEYS, else ~/.local/share/privpipe/keys. Back it up.
    """


@key.command("new")
@click.argument("path", type=FILE)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Make the research key of this number instead.")
def key_new(path: Path, seed: int | None) -> None:
    """Make a new key from the operating system's randomness, in a file that only you can read (mode 0600).

    An existing file is never overwritten, and where git would take the file, none is written. Keep a copy in a safe
    place: without the key no image can be perturbed as your training set was. With --seed it is a research key, which
    anybody can make again: it protects nothing.

    \b
    Examples:
      privpipe key new key.json
      privpipe key new research.json --seed 0
    """
    from privpipe.owner.keyring import create_key

    made = create_key(path, seed)
    click.echo(f"{path}: {kind_of(made)}, fingerprint {made.fingerprint}")
    warn_of_research_key(made)


@key.command("show")
@click.argument("path", type=FILE)
@readable_option
def key_show(path: Path, allow_readable_key: bool) -> None:
    """Show the fingerprint of a key, whether it is a real or a research key, and how key material is derived from it.

    The fingerprint tells keys apart and may be known to anybody. The secret itself is never shown.

    \b
    Examples:
      privpipe key show data/private/key.json
    """
    from privpipe.owner.keyring import read_guarded_key
    from privpipe.perturb.keystream import DERIVATION

    shown = read_guarded_key(path, allow_readable_key)
    click.echo(f"fingerprint: {shown.fingerprint}\nkind:        {kind_of(shown)}\nderivation:  {DERIVATION}")
    warn_of_research_key(shown)


@key.command("list")
def key_list() -> None:
    """List the real keys in the key home, and which is this project's. Damaged files are named at the end.

    \b
    Examples:
      privpipe key list
    """
    from privpipe.owner import keyhome

    problems: list[str] = []
    keys, mine = keyhome.keys(problems.append), None
    try:
        mine = keyhome.project().fingerprint()
    except PrivpipeError as error:
        problems.append(str(error))
    click.echo(f"{len(keys)} in {keyhome.home()}")
    for one in keys:
        click.echo(f"{one.fingerprint}{'  (this project)' * (one.fingerprint == mine)}")
    exit_with(problems)


@key.command("import")
@click.argument("path", type=FILE)
@readable_option
def key_import(path: Path, allow_readable_key: bool) -> None:
    """Copy a key file into the key home: a backup, or one from another machine. PATH stays as it is.

    \b
    Examples:
      privpipe key import /media/backup/key.json
    """
    from privpipe.owner import releases
    from privpipe.owner.keyring import import_key

    imported, target = import_key(path, allow_readable_key)
    click.echo(f"{target}: {kind_of(imported)}, fingerprint {imported.fingerprint}")
    ledger = releases.place(imported)
    if not ledger.exists():
        click.echo(
            f"WARNING: what was released of whole sets under this key is not known here. If anything was, copy "
            f"{ledger.name} from the other key home to {ledger.parent}: key.budget counts by it.",
            err=True,
        )


@key.command("export")
@click.argument("which", default=str(REFERENCE))
@click.option("--out", required=True, type=FILE, help="The new key file; an existing one is never overwritten.")
def key_export(which: str, out: Path) -> None:
    """Write a copy of a key with its secret, in a file that only you can read: a backup, or for another machine.

    WHICH is a fingerprint of `privpipe key list`, or a file (this project's data/private/key.json unless named).

    \b
    Examples:
      privpipe key export --out /media/backup/key.json
      privpipe key export 6ff2a7b31eb870b1 --out key.json
    """
    from privpipe.owner.keyring import export_key

    exported = export_key(which, out)
    click.echo(f"{out}: {kind_of(exported)}, fingerprint {exported.fingerprint}")


@key.command("replace")
@click.option("--reference", type=FILE, default=REFERENCE, show_default=True, help="The pipeline's file.")
def key_replace(reference: Path) -> None:
    """Make a new real key for this project. The old one stays in the key home, for what was perturbed with it.

    Run it in the project's folder, with key.seed: null in params.yaml; `dvc repro` then perturbs again.

    \b
    Examples:
      privpipe key replace && dvc repro
    """
    from privpipe.owner.keygen import replace_key

    before, made = replace_key(reference)
    click.echo(f"{reference}: {kind_of(made)}, fingerprint {made.fingerprint}")
    if before is not None:
        click.echo(f"The key until now, {before}, stays in the key home.")
    click.echo("Run `dvc repro` before you queue experiments: they start from what dvc.lock says.")
