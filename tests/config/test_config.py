"""Configs and flags: to text and back without loss, and one line for every mistake."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from pipeline.config import (
    AblateConfig,
    Config,
    DataConfig,
    DemoConfig,
    EvaluateConfig,
    MainConfig,
    ModelDataConfig,
    PredictConfig,
    PreprocessConfig,
    ServeConfig,
    TrainConfig,
    TuneConfig,
    UserError,
    first_line,
    with_variables,
    without_passwords,
)
from pipeline.config.command_line import parse_flags
from pipeline.config.search_flags import IN_MEMORY
from pipeline.config.text import config_text, fields_of, make_config

CONFIGS = (PreprocessConfig, TrainConfig, TuneConfig, EvaluateConfig, AblateConfig, PredictConfig, MainConfig)
every_config = pytest.mark.parametrize("config_class", CONFIGS, ids=lambda config_class: config_class.__name__)

# Values that are valid side by side, where a rule joins fields or goes beyond what a field's constraints can say.
RULED: dict[str, st.SearchStrategy[Any]] = {
    "ray_address": st.sampled_from(("", "local")),
    "image_size": st.integers(1, 32).map(lambda strides: 32 * strides),
    "val_fraction": st.floats(0.001, 0.499),
    "test_fraction": st.floats(0.001, 0.499),
    "warmup_epochs": st.floats(0, 2, exclude_max=True),
    "seed": st.integers(0, 2**31),
    "epochs": st.integers(2, 2**31),
    "head_epochs": st.integers(0, 1),
    "start_size": st.sampled_from([0, 32]),
    "batch_size": st.integers(1, 2**20).map(lambda count: 12 * count),
    "devices": st.sampled_from([1, 2, 3, 4]),
    "width": st.just(1.0),
    "recipe": st.just(""),
    "storage": st.text(min_size=1, max_size=20).filter(lambda address: address not in IN_MEMORY),
}
NOTHING_TO_UNFREEZE = {"freeze_backbone": True, "head_epochs": 0, "unfreeze_from": "stem", "start_size": 0}
COMMA_LIST_ITEMS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda item: item == item.strip()
)


def _limits(metadata: Sequence[object]) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "min_length", "pattern")
    return {name: getattr(rule, name) for rule in metadata for name in names if getattr(rule, name, None) is not None}


def _values(annotation: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a field of this type takes, from its constraints."""
    lowest, highest = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(lowest, highest)
    if annotation is float:
        return st.floats(
            lowest,
            highest,
            exclude_min="gt" in limits,
            exclude_max="lt" in limits,
            allow_nan=False,
            allow_infinity=False,
        )
    if annotation is str and "pattern" in limits:
        return st.from_regex(limits["pattern"], fullmatch=True).filter(lambda text: text.isprintable())
    if annotation is str:
        return st.text(min_size=limits.get("min_length", 0), max_size=20)
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return st.sampled_from(parts)
    if kind is Annotated:
        return _values(parts[0], _limits(parts[1:]))
    if kind is tuple:
        items = COMMA_LIST_ITEMS if parts[0] is str else _values(parts[0], {})
        return st.lists(items, min_size=limits.get("min_length", 0), max_size=3).map(tuple)
    assert kind in (Union, types.UnionType), annotation
    assert parts[1] is type(None), annotation
    # Where empty text means "not given", no value may be empty.
    return st.none() | _values(parts[0], {"min_length": 1}).filter(lambda value: value not in ("", ()))


def _field_values(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    if name in RULED and field.default is not None:
        return RULED[name]
    return _values(field.annotation, _limits(field.metadata))


def _configs(config_class: type[Config]) -> st.SearchStrategy[Config]:
    values = {name: _field_values(name, field) for name, field in fields_of(config_class).items()}

    def made(given_values: dict[str, Any]) -> Config:
        frozen = NOTHING_TO_UNFREEZE if given_values.get("freeze_backbone") else {}
        alone = {"devices": 1} if given_values.get("precision") == "float16" else {}
        unturned = {"vertical_flip": False, "degrade": 0.0} if given_values.get("augment") == "none" else {}
        return config_class(**given_values | frozen | alone | unturned)

    return st.fixed_dictionaries(values).map(made)


def _assert_equal(config: Config, again: Config) -> None:
    assert {name: (value, getattr(again, name)) for name, value in config if getattr(again, name) != value} == {}
    assert config == again


# The fields that differ are named, so a smaller config would say no more; to look for one takes minutes.
UNSHRUNK = tuple(phase for phase in Phase if phase not in {Phase.shrink, Phase.explain})


@every_config
@given(data=st.data())
@settings(max_examples=30, deadline=None, phases=UNSHRUNK)
def test_config_to_text_and_back_is_the_identity(config_class: type[Config], data: st.DataObject) -> None:
    config = data.draw(_configs(config_class))
    text = config_text(config)
    assert list(text) == list(fields_of(config_class))
    assert all(isinstance(value, str) for value in text.values())
    _assert_equal(config, make_config(config_class, text))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ("a", "b")), (' a , "b" ,', ("a", "b")), ('"salt, fine", sugar', ("salt, fine", "sugar")),
        ('5" nails,6" nails', ('5" nails', '6" nails')), ('"say ""yes""",no', ('say "yes"', "no")), ("", ()),
    ],
)  # fmt: skip
def test_names_with_commas_are_quoted_as_in_csv(text: str, names: tuple[str, ...]) -> None:
    assert make_config(DataConfig, {"classes": text}).classes == names


def test_a_quotation_mark_that_is_not_closed_is_named() -> None:
    with pytest.raises(UserError, match="must close its quotation marks"):
        make_config(DataConfig, {"classes": '"a,b'})


@every_config
@given(data=st.data())
@settings(max_examples=10, deadline=None, phases=UNSHRUNK)
def test_config_to_flags_and_back_is_the_identity(config_class: type[Config], data: st.DataObject) -> None:
    config = data.draw(_configs(config_class))
    arguments = [f"--{name}={value}" for name, value in config_text(config).items()]
    _assert_equal(config, parse_flags(config_class, "command", arguments))


@every_config
def test_no_flags_give_the_defaults(config_class: type[Config]) -> None:
    assert parse_flags(config_class, "command", []) == config_class()


def test_a_value_may_stand_behind_a_space_or_an_equals_sign() -> None:
    spaced = parse_flags(TrainConfig, "train", ["--epochs", "7", "--augment", "none"])
    assert spaced == parse_flags(TrainConfig, "train", ["--epochs=7", "--augment=none"])
    assert (spaced.epochs, spaced.augment) == (7, "none")


def test_comma_lists_lose_spaces_and_empty_parts() -> None:
    assert make_config(PreprocessConfig, {"classes": " daisy, roses ,"}).classes == ("daisy", "roses")
    assert make_config(PreprocessConfig, {"classes": ""}).classes == ()


MISTAKES = [
    # (config, flags, what the line must name: the field or flag, the value, and often the rule or remedy)
    (TrainConfig, ["--no_such_flag=1"], ["--no_such_flag"]),
    (TrainConfig, ["--learning_rat=0.1"], ["--learning_rat=0.1", "did you mean --learning_rate?"]),
    (PredictConfig, ["--epochs=3"], ["--epochs=3"]),
    (TrainConfig, ["daisy.jpg"], ["daisy.jpg"]),
    (TrainConfig, ["--epochs"], ["--epochs", "--name=value"]),
    (TrainConfig, ["--learning_rate"], ["--learning_rate", "--name=value"]),
    (TrainConfig, ["--epochs=many"], ["epochs", "'many'", "integer"]),
    (TrainConfig, ["--epochs=2.5"], ["epochs", "'2.5'", "integer"]),
    (TrainConfig, ["--epochs="], ["epochs", "''", "integer"]),
    (TrainConfig, ["--learning_rate=fast"], ["learning_rate", "'fast'", "number"]),
    (TrainConfig, ["--freeze_backbone=perhaps"], ["freeze_backbone", "'perhaps'", "boolean"]),
    (TrainConfig, ["--learning_rate=0"], ["learning_rate", "'0'", "greater than 0"]),
    (TrainConfig, ["--learning_rate=nan"], ["learning_rate", "nan"]),
    (TrainConfig, ["--learning_rate=inf"], ["learning_rate", "inf"]),
    (TrainConfig, ["--mixup=inf"], ["mixup", "inf"]),
    (TrainConfig, ["--dropout=1"], ["dropout", "'1'", "less than 1"]),
    (TrainConfig, ["--epochs=-1"], ["epochs", "'-1'", "greater than or equal to 0"]),
    (TrainConfig, ["--seed=-1"], ["seed", "'-1'"]),
    (TrainConfig, ["--seed=4294967296"], ["seed", "4294967296"]),
    (TrainConfig, ["--width=0.5", "--weights=imagenet"], ["width", "0.5", "weights=imagenet"]),
    (TrainConfig, ["--stem=none"], ["stem", "'none'", "'deep'"]),
    (TrainConfig, ["--image_size=2048"], ["image_size", "'2048'", "1024"]),
    (TrainConfig, ["--image_size=100"], ["image_size", "100", "multiple of 32", "96 or 128"]),
    (TrainConfig, ["--image_size=-1"], ["image_size", "-1", "try 32 or 64"]),
    (TrainConfig, ["--start_size=40"], ["start_size", "40", "try 32 or 64"]),
    (TuneConfig, ["--weights=none", "--start_size=96"], ["start_size", "96", "image_size", "64"]),
    (TrainConfig, ["--batch_size=9", "--devices=2"], ["batch_size", "9", "devices", "2", "try 8"]),
    (TrainConfig, ["--weights=none", "--head_epochs=16"], ["head_epochs", "16", "epochs", "freeze_backbone=true"]),
    (TrainConfig, ["--precision=float16", "--devices=2"], ["precision=float16", "devices=1", "2", "bfloat16"]),
    (TrainConfig, ["--freeze_backbone=true", "--unfreeze_from=stage3"], ["freeze_backbone", "unfreeze_from=stage3"]),
    (TrainConfig, ["--augment=huge"], ["augment", "'huge'", "'none', 'light', 'medium' or 'strong'"]),
    (TrainConfig, ["--optimizer=SGD"], ["optimizer", "'SGD'", "'sgd'"]),
    (TuneConfig, ["--variants=resnet18,resnet19"], ["variants", "'resnet19'", "'resnet18'"]),
    (TuneConfig, ["--variants="], ["variants", "at least 1"]),
    (TuneConfig, ["--n_trials=-1"], ["n_trials", "'-1'"]),
    (TuneConfig, ["--storage="], ["storage", "''"]),
    (PreprocessConfig, ["--data="], ["data", "''"]),
    (
        PreprocessConfig,
        ["--val_fraction=0.6", "--test_fraction=0.4"],
        ["val_fraction + test_fraction", "below 1", "0.6 + 0.4"],
    ),
    (PreprocessConfig, ["--val_fraction=1"], ["val_fraction", "'1'", "less than 1"]),
    (TrainConfig, ["--epochs=5", "--warmup_epochs=5"], ["warmup_epochs", "5.0 of 5", "below epochs"]),
    (TrainConfig, ["--model_name=flowers/best"], ["model_name", "'flowers/best'"]),
    (TrainConfig, ["--model_name="], ["model_name", "''"]),
    (TrainConfig, ["--epochs=1\n2"], ["epochs", "1\\n2"]),
    (TrainConfig, ["--epochs=-1", "--batch_size=0"], ["epochs", "batch_size"]),
    (EvaluateConfig, ["--image_size=big"], ["image_size", "'big'"]),
]


@pytest.mark.parametrize(
    ("config_class", "arguments", "named"), MISTAKES, ids=[" ".join(arguments) for _, arguments, _ in MISTAKES]
)
def test_a_mistake_gets_one_line_that_names_field_and_value(
    config_class: type[Config], arguments: list[str], named: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        parse_flags(config_class, "command", arguments)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert [words for words in named if words not in message] == []


@pytest.mark.parametrize("value", [(1, 2), ["x"], None, {"a": 1}], ids=repr)
def test_a_value_of_the_wrong_python_type_is_the_users_mistake(value: object) -> None:
    with pytest.raises(UserError, match="data"):
        make_config(TrainConfig, {"data": value})


def test_an_unknown_name_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="momentum"):
        make_config(TrainConfig, {"momentum": 0.9})


@every_config
def test_every_field_has_a_description_and_a_default(config_class: type[Config]) -> None:
    fields = fields_of(config_class)
    assert set(fields) == set(config_class.model_fields)
    assert [name for name, field in fields.items() if not (field.description or "").strip().endswith(".")] == []
    assert [name for name, field in fields.items() if field.is_required()] == []


def test_a_field_has_one_default_in_all_configs() -> None:
    defaults: dict[str, set[str]] = {}
    for config_class in CONFIGS:
        for name, field in fields_of(config_class).items():
            if config_class is EvaluateConfig and name in ModelDataConfig.model_fields:
                assert field.default is None, name  # None: what the model was trained with
                continue
            if config_class is EvaluateConfig and name == "model_uri":
                assert "challenger" in field.default  # evaluate judges the newest, all others use the champion
                continue
            defaults.setdefault(name, set()).add(repr(field.default))
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}


def test_evaluate_has_every_data_flag() -> None:
    assert list(ModelDataConfig.model_fields) == list(DataConfig.model_fields)


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().epochs = 3  # type: ignore[misc]


def test_a_tune_config_turns_into_the_training_it_describes() -> None:
    config = TuneConfig(epochs=7, image_size=64, model_name="tulips")
    trained = config.train_config(optimizer="sgd")
    assert trained == TrainConfig(epochs=7, image_size=64, model_name="tulips", optimizer="sgd")
    with pytest.raises(ValueError, match="optimizer"):
        config.train_config(optimizer="fastest")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://optuna:open/se:same@home@db/optuna", "postgresql://optuna:***@db/optuna"),
        ("postgresql:///optuna?user=me&password=sesame&x=1", "postgresql:///optuna?user=me&password=***&x=1"),
        ("got 500 from http://me:sesame@example:5000 (sorry)", "got 500 from http://me:***@example:5000 (sorry)"),
        ("postgresql://optuna:${PASSWORD}@db/optuna", "postgresql://optuna:${PASSWORD}@db/optuna"),
        ("postgresql://optuna@db:5432/optuna", "postgresql://optuna@db:5432/optuna"),
        ("models:/flower-classifier@champion", "models:/flower-classifier@champion"),
    ],
)  # fmt: skip
def test_passwords_in_addresses_are_hidden(address: str, shown: str) -> None:
    assert without_passwords(address) == shown
    assert first_line(ValueError(address)) == shown


def test_an_address_may_name_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "a/b@c")
    assert with_variables("postgresql://me:${WORD}@db/x") == "postgresql://me:a%2Fb%40c@db/x"
    assert with_variables("${WORD}") == "a/b@c"
    assert with_variables("sqlite:///$WORD") == "sqlite:///$WORD"
    with pytest.raises(UserError, match=r"must be set, got no NOBODY \(export NOBODY"):
        with_variables("postgresql://${WORD}:${NOBODY}@db/x")


def test_machines_do_not_share_a_file() -> None:
    assert TuneConfig(ray_address="local").many_machines is False
    server = {"storage": "postgresql://me@db/optuna"}
    assert TuneConfig(ray_address="10.0.0.1:6379", **server).many_machines is True
    with pytest.raises(UserError, match=r"storage must be on a database server .*got sqlite.*10\.0\.0\.1.*postgres"):
        make_config(TuneConfig, {"ray_address": "10.0.0.1:6379"})


def test_server_and_page_listen_on_ports_of_their_own() -> None:
    assert ServeConfig().port != DemoConfig().port  # or the second could not be started beside the first
