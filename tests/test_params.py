"""Every bad parameter is refused with what was given, what is legal and what to do."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from privpipe.errors import PrivpipeError
from privpipe.params import GROUPS, RENAMED, Params, check_params, load_params
from privpipe.perturb import METHODS, PERTURBATIONS

COMMITTED = Path(__file__).parents[1] / "params.yaml"
VALUES = YAML(typ="safe", pure=True).load(COMMITTED)
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
METHOD_NAMES = ", ".join(METHODS)
BLOCK_METHODS = ", ".join(name for name in PERTURBATIONS if PERTURBATIONS[name].blocks)
PLAIN_NUMBER = "Write a plain number without quotes, such as 8 or 0.001"


def changed(**changes: Any) -> dict[str, Any]:
    """The committed values with `group__name` set."""
    values = copy.deepcopy(VALUES)
    for place, value in changes.items():
        group, name = place.split("__")
        values[group][name] = value
    return values


def message_of(**changes: Any) -> str:
    with pytest.raises(PrivpipeError) as caught:
        check_params(changed(**changes))
    return str(caught.value)


def test_the_committed_file_is_valid_and_is_the_default_experiment() -> None:
    params = load_params(COMMITTED)
    assert params == check_params(VALUES)
    assert (params.perturb.method, params.perturb.k, params.perturb.scope) == ("block_scramble", 4, "dataset")
    assert (params.data.source, params.model.arch, params.train.lr) == ("cifar10", "descrambler", 0.001)
    assert (params.train.recipe, params.train.lr_decay) == ("paper", 0.8)


def test_every_parameter_is_described() -> None:
    assert list(GROUPS) == list(Params.model_fields)
    assert all(field.description for group in GROUPS.values() for field in group.model_fields.values())


def test_params_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_params(COMMITTED).train.lr = 1.0


LEGAL = [
    {"perturb__method": "block_scramble", "perturb__k": 32},
    *[
        # Of features there is one for each block, and the network halves their number twice.
        {"perturb__method": name, "perturb__k": 4 if kind.features else (kind.legal_k(32) or [7])[-1]}
        | {"perturb__sigma": 25, "model__arch": "baseline"}
        for name, kind in PERTURBATIONS.items()
    ],
    {"perturb__method": "dp_statistics", "perturb__epsilon": 0.5, "key__budget": 3.0},
    {"perturb__method": "dp_statistics", "perturb__k": 5, "model__arch": "three_layer"},
    {"perturb__method": "instahide", "model__arch": "three_layer"},
    {"perturb__method": "gaussian_noise", "perturb__k": 4, "perturb__sigma": 1.5, "model__arch": "three_layer"},
    {"perturb__scope": "image", "model__penalty": "l2", "train__device": "cuda", "train__reg": 0},
    {"train__recipe": "modern", "train__lr": 0.4, "train__lr_decay": 1.0},
    {"train__recipe": "paper", "train__lr_decay": 1},
    {"train__recipe": "modern", "train__lr_decay": 1e-9, "model__arch": "three_layer", "perturb__method": "none"},
    {"model__descrambler": "inferred", "perturb__k": 16},
    {"model__descrambler": "learned_smooth", "perturb__k": 1, "perturb__scope": "dataset"},
    {"model__descrambler": "inferred", "model__arch": "baseline", "perturb__scope": "image"},
    {"key__seed": None, "data__n_train": 49_000, "data__n_test": 10_000, "data__public": 0},
    {"key__seed": 2**63 - 1, "data__n_train": 10, "data__n_val": 49_990, "data__n_test": 10, "data__public": 0.0},
    {"data__n_train": 24_000, "data__public": 0.5, "attack__stolen": 1000, "attack__pairs": 0},
    {"data__public": "other/images", "data__n_train": 49_000, "attack__network_epochs": 0},
    {"data__archive": "cifar.tar.gz", "data__sha256": SHA256},
    {"data__source": "synthetic", "data__image_size": 256, "data__n_train": 100_000},
    {"data__source": "folder", "data__path": "images", "data__image_size": 512, "data__n_train": 2, "data__n_val": 2},
]


@pytest.mark.parametrize("changes", LEGAL)
def test_legal_values(changes: dict[str, Any]) -> None:
    params = check_params(changed(**changes))
    for place, value in changes.items():
        group, name = place.split("__")
        assert getattr(getattr(params, group), name) == value


UNKNOWN = [
    (
        {"perturb__method": "block_scrambel"},
        f"perturb.method must be one of {METHOD_NAMES}; got 'block_scrambel'. Did you mean block_scramble?",
    ),
    ({"perturb__method": "xyz"}, f"perturb.method must be one of {METHOD_NAMES}; got 'xyz'."),
    ({"perturb__scope": "images"}, "perturb.scope must be one of dataset, image; got 'images'. Did you mean image?"),
    (
        {"model__arch": "threelayer"},
        "model.arch must be one of adaptation, baseline, descrambler, three_layer, vit; got 'threelayer'. Did you mean "
        "three_layer?",
    ),
    ({"model__penalty": "l3"}, "model.penalty must be one of l1, l2; got 'l3'."),
    (
        {"model__descrambler": "infered"},
        "model.descrambler must be one of learned, learned_smooth, inferred; got 'infered'. Did you mean inferred?",
    ),
    ({"train__recipe": "moden"}, "train.recipe must be one of paper, modern; got 'moden'. Did you mean modern?"),
    ({"train__recipe": None}, "train.recipe must be one of paper, modern; got 'None'."),
    (
        {"model__arch": "modern_baseline"},
        "model.arch must be one of adaptation, baseline, descrambler, three_layer, vit; got",
    ),
    ({"train__device": "gpu"}, "train.device must be one of auto, cpu, cuda; got 'gpu'. Did you mean cpu?"),
    (
        {"data__source": "cifar100"},
        "data.source must be one of cifar10, synthetic, folder; got 'cifar100'. Did you mean cifar",
    ),
    (
        {"train__epoch": 3},
        "a parameter of train must be one of epochs, batch_size, recipe, lr, lr_decay, reg, seed, device, threads, "
        "precision, memory_mb; got 'epoch'. Did you mean epochs?",
    ),
]


@pytest.mark.parametrize(("changes", "message"), UNKNOWN)
def test_unknown_names(changes: dict[str, Any], message: str) -> None:
    assert message_of(**changes).startswith(message)


def test_an_unknown_group() -> None:
    message = "a parameter must be one of data, key, perturb, model, train, attack; got 'trian'. Did you mean train?"
    with pytest.raises(PrivpipeError, match=re.escape(message)):
        check_params(VALUES | {"trian": {}})


WRONG_TYPES = [
    ({"perturb__k": "4"}, "perturb.k", "valid integer", f"'4'. {PLAIN_NUMBER}"),
    ({"train__lr": "0.001"}, "train.lr", "valid number", f"'0.001'. {PLAIN_NUMBER}"),
    ({"train__lr": "1e-3x"}, "train.lr", "valid number", f"'1e-3x'. {PLAIN_NUMBER}"),
    ({"perturb__k": 4.0}, "perturb.k", "valid integer", "4.0"),
    ({"perturb__k": True}, "perturb.k", "valid integer", "True"),
    ({"train__seed": False}, "train.seed", "valid integer", "False"),
    ({"train__lr": True}, "train.lr", "valid number", "True"),
    ({"perturb__sigma": None}, "perturb.sigma", "valid number", "None"),
    ({"perturb__k": [4]}, "perturb.k", "valid integer", "[4]"),
    ({"train__lr": {}}, "train.lr", "valid number", "{}"),
    ({"train__lr_decay": "0.8"}, "train.lr_decay", "valid number", f"'0.8'. {PLAIN_NUMBER}"),
    ({"train__lr_decay": True}, "train.lr_decay", "valid number", "True"),
    ({"train__lr_decay": None}, "train.lr_decay", "valid number", "None"),
    ({"data__n_val": None}, "data.n_val", "valid integer", "None"),
]


@pytest.mark.parametrize(("changes", "name", "kind", "given"), WRONG_TYPES)
def test_wrong_types(changes: dict[str, Any], name: str, kind: str, given: str) -> None:
    group, field = name.split(".")
    description = GROUPS[group].model_fields[field].description
    assert message_of(**changes).startswith(f"{name} ({description}): input should be a {kind}; got {given}.")


TEXT = [
    ({"perturb__method": 3}, "perturb.method must be text; got 3. Put it in quotes."),
    ({"data__archive": 5}, "data.archive must be text; got 5. Put it in quotes."),
    ({"data__sha256": 12}, "data.sha256 must be text; got 12. Put it in quotes."),
    *[
        (
            {"data__sha256": bad},
            f"data.sha256 must be 64 hexadecimal digits; got {bad!r}. Run `sha256sum ARCHIVE` and copy its result.",
        )
        for bad in ("abc", SHA256[:-1], SHA256 + "0", SHA256[:-1] + "g", SHA256 + "\n", " " + SHA256)
    ],
]


@pytest.mark.parametrize(("changes", "message"), TEXT)
def test_wrong_text(changes: dict[str, Any], message: str) -> None:
    assert message_of(**changes) == message


RANGES = [
    ({"train__lr": 0}, "train.lr", "greater than 0", "0"),
    ({"train__lr": -0.1}, "train.lr", "greater than 0", "-0.1"),
    ({"train__lr": float("nan")}, "train.lr", "a finite number", "nan"),
    ({"train__lr": float("inf")}, "train.lr", "a finite number", "inf"),
    ({"train__lr_decay": 0}, "train.lr_decay", "greater than 0", "0"),
    ({"train__lr_decay": -0.5}, "train.lr_decay", "greater than 0", "-0.5"),
    ({"train__lr_decay": 1.01}, "train.lr_decay", "less than or equal to 1", "1.01"),
    ({"train__lr_decay": float("nan")}, "train.lr_decay", "less than or equal to 1", "nan"),
    ({"train__lr_decay": float("inf")}, "train.lr_decay", "less than or equal to 1", "inf"),
    ({"train__reg": -1.0}, "train.reg", "greater than or equal to 0", "-1.0"),
    ({"train__reg": float("inf")}, "train.reg", "a finite number", "inf"),
    ({"perturb__sigma": -1.0}, "perturb.sigma", "greater than or equal to 0", "-1.0"),
    ({"perturb__epsilon": 0.0}, "perturb.epsilon", "greater than 0", "0.0"),
    ({"key__budget": -1.0}, "key.budget", "greater than 0", "-1.0"),
    ({"perturb__sigma": float("nan")}, "perturb.sigma", "a finite number", "nan"),
    ({"perturb__k": 0}, "perturb.k", "greater than or equal to 1", "0"),
    ({"perturb__k": 2**31}, "perturb.k", "less than 2147483648", "2147483648"),
    ({"train__epochs": 0}, "train.epochs", "greater than or equal to 1", "0"),
    ({"train__batch_size": 65_537}, "train.batch_size", "less than or equal to 65536", "65537"),
    ({"train__threads": 0}, "train.threads", "greater than or equal to 1", "0"),
    ({"train__seed": -1}, "train.seed", "greater than or equal to 0", "-1"),
    *[
        ({f"{group}__seed": 2**32}, f"{group}.seed", "less than 4294967296", "4294967296")  # torch would take it for 0
        for group in ("train", "attack")
    ],
    ({"key__seed": 2**63}, "key.seed", "less than 9223372036854775808", "9223372036854775808"),
    ({"data__image_size": 7}, "data.image_size", "greater than or equal to 8", "7"),
    ({"data__image_size": 520}, "data.image_size", "less than or equal to 512", "520"),
    ({"data__n_train": 0}, "data.n_train", "greater than or equal to 1", "0"),
]


@pytest.mark.parametrize(("changes", "name", "rule", "given"), RANGES)
def test_out_of_range(changes: dict[str, Any], name: str, rule: str, given: str) -> None:
    group, field = name.split(".")
    description = GROUPS[group].model_fields[field].description
    assert message_of(**changes) == f"{name} ({description}): input should be {rule}; got {given}."


ODD = "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31"
IMPOSSIBLE = [
    (
        {"perturb__epsilon": 1.0},
        "perturb.epsilon is for methods that guarantee one (dp_mixtures, dp_pix, dp_statistics, ldp_slicing); got 1 "
        "with perturb.method=block_scramble. Set perturb.epsilon=null, or use one of these.",
    ),
    (
        {"key__budget": 2.0},
        "key.budget is for releases of a whole set (dp_mixtures, dp_statistics); got 2 with "
        "perturb.method=block_scramble, whose images no budget bounds. Set key.budget=null.",
    ),
    (
        {"perturb__method": "instahide", "key__budget": 2.0, "model__arch": "baseline"},
        "key.budget is for releases of a whole set (dp_mixtures, dp_statistics); got 2 with "
        "perturb.method=instahide, whose images no budget bounds. Set key.budget=null.",
    ),
    (
        {"perturb__method": "instahide", "perturb__epsilon": 2.0, "model__arch": "baseline"},
        "perturb.epsilon is for methods that guarantee one (dp_mixtures, dp_pix, dp_statistics, ldp_slicing); got 2 "
        "with perturb.method=instahide. Set perturb.epsilon=null, or use one of these.",
    ),
    (
        {"perturb__method": "instahide"},
        "model.arch=descrambler treats blocks apart, and perturb.method=instahide has none. Set model.arch=baseline, "
        "for example.",
    ),
    (
        {"perturb__method": "dp_statistics", "perturb__scope": "image"},
        "perturb.scope must be dataset for perturb.method=dp_statistics, which releases one thing for the whole set; "
        "got image. Set perturb.scope=dataset.",
    ),
    (
        {"perturb__method": "dp_statistics", "perturb__sigma": 25.0},
        "perturb.sigma must be 0 for perturb.method=dp_statistics, whose noise follows from perturb.epsilon; got 25. "
        "Set perturb.sigma=0.",
    ),
    *[
        (
            {"perturb__method": name, "data__public": 0.0, "model__arch": "baseline", **more},
            f"data.public must be above 0 for perturb.method={name}, which needs public images; got 0. Set a fraction "
            "such as 0.1, or a folder of images that everybody may see.",
        )
        for name, more in [("dp_statistics", {}), ("dp_mixtures", {}), ("instahide", {"perturb__mixing_public": 1})]
    ],
    *[
        (
            {"perturb__method": name, "key__seed": None, "data__source": "folder", "data__path": "images"},
            f"data.public must be a folder of images that everybody may see for perturb.method={name} with a real key: "
            "patches of the public images are released as they are, and data.public=0.1 takes these from your own. "
            "Name a folder, or set key.seed=0 to measure without releasing.",
        )
        for name in ("dp_statistics", "dp_mixtures")
    ],
    *[
        (
            {
                **{"perturb__method": "dp_statistics", "key__seed": None, "data__source": "folder"},
                **{"data__path": "images", "data__public": "others", f"data__{name}": value},
            },
            f"data.{name} must be {legal} for perturb.method=dp_statistics with a real key: {why}; got {value}. Set "
            f"data.{name}={cure}",
        )
        for name, value, legal, why, cure in [
            (
                "range",
                "set",
                "declared, type or image",
                "black and white of the whole set change all images with one, and are released as they are",
                "image, for example.",
            ),
            (
                "on_duplicates",
                "drop",
                "warn, stop or ignore",
                "one image may be why others are left out",
                "stop, and remove what it names.",
            ),
        ]
    ],
    *[
        (
            {"perturb__method": "neuracrypt", "perturb__width": width, "model__arch": "vit"},
            "perturb.width (numbers for each patch) must be a whole number from 1 up to 4096 for "
            f"perturb.method=neuracrypt; got {width!r}. Use 64, for example.",
        )
        for width in ("64px", None, [1], float("inf"))
    ],
    (
        {"perturb__k": 5},
        "perturb.k must divide data.image_size=32 for perturb.method=block_scramble; got 5. "
        "Use one of 1, 2, 4, 8, 16, 32.",
    ),
    *[
        (
            {"perturb__method": name, "perturb__k": k, "perturb__sigma": 1.0, "model__arch": "baseline"},
            f"perturb.k must be odd and at most data.image_size=32 for perturb.method={name}; got {k}. "
            f"Use one of {ODD}.",
        )
        for name, k in [("gaussian_blur", 4), ("random_filter", 2), ("correlated_noise", 33)]
    ],
    *[
        (
            {"perturb__method": name, "perturb__k": 3, "perturb__sigma": 0.0, "model__arch": "baseline"},
            f"perturb.sigma must be over 0 for perturb.method={name}; got 0. Set a noise strength in levels of 0..255, "
            "for example perturb.sigma=25.",
        )
        for name in ("gaussian_noise", "correlated_noise")
    ],
    (
        {"perturb__method": "gaussian_blur", "perturb__k": 3},
        f"model.arch=descrambler needs a method that works on blocks ({BLOCK_METHODS}); got "
        "perturb.method=gaussian_blur. Set model.arch=baseline, or one of these methods.",
    ),
    (
        {"data__archive": "a.tar.gz"},
        "data.sha256 is required with data.archive=a.tar.gz; got null. It guards the unpickling: run "
        "`sha256sum ARCHIVE` and set data.sha256 to the result.",
    ),
    (
        {"data__image_size": 64},
        "data.image_size must be 32 for data.source=cifar10; got 64. Set data.image_size=32.",
    ),
    *[
        (
            {"data__source": source, "data__path": "images", "data__image_size": 20},
            f"data.image_size must be a multiple of 8 for data.source={source}; got 20. Use 16.",
        )
        for source in ("synthetic", "folder")
    ],
    (
        {"data__source": "synthetic", "data__image_size": 264},
        "data.image_size must be at most 256 for data.source=synthetic; got 264. Use 256 or less.",
    ),
    *[
        (
            {"data__source": "folder", "data__path": path},
            f"data.path is required with data.source=folder; got {path!r}. Set it to a folder with one sub-folder of "
            "images per class.",
        )
        for path in (None, "")
    ],
    (
        {"data__n_train": 44_001},
        "data.n_train + data.n_val must be at most 45,000, the training part of CIFAR-10 without the 5,000 public "
        "images; got 44001 + 1000. Use data.n_train <= 44000, null for all, or a smaller data.public.",
    ),
    *[
        (
            {"data__n_val": n},
            "data.n_val must leave data.n_train at least 10 of the 45,000 images in the training part of CIFAR-10 that "
            f"are not public; got {n}. Use 44990 or less.",
        )
        for n in (44_991, 50_000, 60_000)
    ],
    *[
        (
            {"data__public": share},
            "data.public must be a fraction of the training part from 0 to 0.5, or the path of a folder of images; got "
            f"{share!r}. Use 0.1, for example.",
        )
        for share in (-0.1, 0.51, 5.0, float("nan"), "")
    ],
    (
        {"data__n_test": 10_001},
        "data.n_test must be at most 10,000, the test part of CIFAR-10; got 10001. Use null for all.",
    ),
    *[
        ({f"data__{name}": 9}, f"data.{name} must hold each of the 10 classes; got 9. Use 10 or more.")
        for name in ("n_train", "n_val", "n_test")
    ],
    *[
        (
            {"model__descrambler": choice, "perturb__scope": "image"},
            f"model.descrambler={choice} looks for the permutations that all images share, so it needs "
            "perturb.method=block_scramble and perturb.scope=dataset; got block_scramble and image. "
            "Set model.descrambler=learned, or these.",
        )
        for choice in ("learned_smooth", "inferred")
    ],
    *[
        (
            {"model__descrambler": choice, "perturb__k": 32},
            f"model.descrambler={choice} compares the pixels of a block with other blocks, so perturb.k must be "
            "smaller than data.image_size=32; got 32. Set model.descrambler=learned, or a smaller perturb.k.",
        )
        for choice in ("learned_smooth", "inferred")
    ],
]


@pytest.mark.parametrize(("changes", "message"), IMPOSSIBLE)
def test_impossible_combinations(changes: dict[str, Any], message: str) -> None:
    assert message_of(**changes).splitlines()[0] == message


@example("neuracrypt", 16)
@given(st.sampled_from(sorted(PERTURBATIONS)), st.integers(1, 40))
def test_the_values_of_k_that_pass_are_those_that_the_method_names(name: str, k: int) -> None:
    legal = PERTURBATIONS[name].legal_k(32)
    values = changed(perturb__method=name, perturb__k=k, perturb__sigma=1.0, model__arch="baseline")
    if legal is not None and k in legal and PERTURBATIONS[name].features and 32 // k % 4:
        with pytest.raises(PrivpipeError, match=rf"^baseline halves the image .* got {32 // k}\. Change "):
            check_params(values)  # as many features as blocks, and the network halves their number twice
    elif legal is None or k in legal:
        assert check_params(values).perturb.k == k
    else:
        with pytest.raises(PrivpipeError, match=rf"^perturb\.k must .* got {k}\. Use one of {legal[0]}, {legal[1]}"):
            check_params(values)


TEXT = st.text("aZ09_ .:-\n\0éß€😀", max_size=8)


@given(st.dictionaries(st.sampled_from([*GROUPS, "x"]), st.none() | TEXT | st.dictionaries(TEXT, TEXT, max_size=5)))
def test_nonsense_raises_nothing_but_a_privpipe_error(values: dict[str, Any]) -> None:
    with pytest.raises(PrivpipeError):
        check_params(values)


def test_all_wrong_values_are_listed() -> None:
    lines = message_of(perturb__k="4", train__lr=0, model__arch="resnet", data__n_vall=3).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["a", "perturb.k", "model.arch", "train.lr"]
    assert "got 'n_vall'. Did you mean n_val?" in lines[0]


def test_all_impossible_combinations_are_listed() -> None:
    lines = message_of(perturb__method="gaussian_noise", data__n_test=5, data__n_val=5, data__image_size=64)
    assert [line.split(" ")[0] for line in lines.splitlines()] == [
        *["data.image_size", "data.n_val", "data.n_test", "perturb.sigma", "model.arch=descrambler"]
    ]


FIELDS = [(group, name, field) for group in GROUPS for name, field in GROUPS[group].model_fields.items()]


def test_the_committed_file_shows_the_defaults() -> None:
    for group, name, field in FIELDS:
        assert field.is_required() or VALUES[group][name] == field.default, f"{group}.{name}"


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, n, field in FIELDS if field.is_required()])
def test_a_missing_parameter(group: str, name: str) -> None:
    values = copy.deepcopy(VALUES)
    del values[group][name]
    with pytest.raises(PrivpipeError) as caught:
        check_params(values)
    remedy = "Add it to the parameter file; the committed params.yaml shows every name."
    assert str(caught.value) == f"{group}.{name} is missing. {remedy}"


def test_a_missing_group() -> None:
    with pytest.raises(PrivpipeError, match=r"^key is missing\. Add it to the parameter file"):
        check_params({name: VALUES[name] for name in GROUPS if name != "key"})


@pytest.mark.parametrize("given", [None, 3, "abc", []])
def test_a_group_that_is_none(given: object) -> None:
    with pytest.raises(PrivpipeError) as caught:
        check_params(VALUES | {"key": given})
    assert (
        str(caught.value) == f"key must hold seed, budget; got {given!r}. Write one per line, indented: `name: value`."
    )


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_refused_with_the_new_one(old: str, new: str) -> None:
    group, name = old.split(".")
    values = changed()
    values[group][name] = 1
    with pytest.raises(PrivpipeError, match=f"{old} is called {new} now"):
        check_params(values)
