from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.serving.options import PARSERS, Options, RequestOptions, encode_options, options_of
from calvaria.tasks import TASKS, Settings
from calvaria.tasks.completion import COMPLETION

FINER = replace(COMPLETION, name="finer", outputs=("finer",), options=("spacing_mm", "factor"))


def parse(task=COMPLETION, **given: str) -> RequestOptions:
    return RequestOptions.parse(given, task)


def refusal(task=COMPLETION, **given: str) -> CalvariaError:
    with pytest.raises(CalvariaError) as caught:
        parse(task, **given)
    return caught.value


def test_one_schema():
    names = {field.name for field in fields(RequestOptions)}
    assert names == PARSERS.keys() == Options.__annotations__.keys()
    assert all(set(options_of(task)) <= names for task in TASKS.values())


def test_without_options_the_first_output_in_the_inputs_format():
    assert parse() == RequestOptions(("completed",), False, None, None, None, None)


def test_options_as_fields():
    given = parse(output="implant", report="1", format="nii.gz", label="2", threshold="0.4", smallest_mm3="50")
    assert given == RequestOptions(("implant",), True, "nii.gz", 2, 0.4, 50.0)
    assert parse(FINER, spacing_mm="0.25", factor="2") == RequestOptions(("finer",), spacing_mm=0.25, factor=2.0)


@pytest.mark.parametrize("text", ["implant,completed", "implant, completed", "implant,completed,implant"])
def test_several_outputs_each_once_in_the_order_asked_for(text):
    assert parse(output=text).output == ("implant", "completed")


def test_options_as_json_and_a_field_beats_them():
    assert parse(options='{"output": "implant", "label": 3}', label="2") == RequestOptions(("implant",), label=2)
    assert parse(options='{"output": ["completed", "implant"], "report": true, "threshold": 0.25}') == RequestOptions(
        ("completed", "implant"), True, threshold=0.25
    )


@pytest.mark.parametrize("given", [{"outptu": "implant"}, {"Output": "implant"}, {"options": '{"outptu": 1}'}, {"": ""}])
def test_unknown_option_names_the_known_ones(given):
    error = refusal(**given)
    assert error.code is ErrorCode.UNKNOWN_OPTION
    assert "output, report, format, label, threshold, smallest_mm3" in error.message


@pytest.mark.parametrize(("task", "name"), [(COMPLETION, "factor"), (COMPLETION, "spacing_mm"), (FINER, "threshold")])
def test_an_option_of_another_task_is_refused_with_its_own_sentence(task, name):
    error = refusal(task, **{name: "1"})
    assert error.code is ErrorCode.UNKNOWN_OPTION
    assert f"{task.name} takes no option {name}. It takes output, report, format, label, {task.options[0]}" in error.message


@pytest.mark.parametrize(
    "given",
    [
        {"output": "mask"},
        {"output": ""},
        {"output": "implant,"},
        {"format": "mha"},
        {"report": "yes"},
        {"label": "0"},
        {"label": "-1"},
        {"label": "1.5"},
        {"label": "²"},
        {"label": "9" * 5000},
        {"threshold": "0"},
        {"threshold": "1"},
        {"threshold": "nan"},
        {"threshold": "٠.٥"},
        {"threshold": "0.5_0"},
        {"smallest_mm3": "-1"},
        {"smallest_mm3": "inf"},
        {"smallest_mm3": "1e99"},
        {"options": "["},
        {"options": "[]"},
        {"options": "[" * 100_000},
        {"options": '{"output": ' + "[" * 990 + "]" * 990 + "}"},
        {"options": '{"label": null}'},
        {"options": '{"output": [1]}'},
    ],
)
def test_bad_value(given):
    error = refusal(**given)
    assert error.code is ErrorCode.BAD_OPTION
    assert len(error.message) < 250


@given(st.dictionaries(st.sampled_from([*PARSERS, "options", "x"]) | st.text(), st.text()))
def test_any_text_is_either_options_or_a_refusal(given):
    try:
        outcome = set(RequestOptions.parse(given, COMPLETION).output)
    except CalvariaError as error:
        outcome = {error.code}
    assert outcome <= {*COMPLETION.outputs, ErrorCode.UNKNOWN_OPTION, ErrorCode.BAD_OPTION}


POSSIBLE = {
    "output": st.lists(st.sampled_from(COMPLETION.outputs), min_size=1, unique=True),
    "report": st.booleans(),
    "format": st.sampled_from(["nrrd", "nii", "nii.gz", "stl"]),
    "label": st.integers(1, 999_999_999),
    "threshold": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "smallest_mm3": st.floats(0, 1e6),
}


@given(st.fixed_dictionaries({}, optional=POSSIBLE))
def test_what_a_client_asks_for_arrives(options):
    expected = RequestOptions(**{"output": ("completed",)} | options | {"output": tuple(options.get("output", ["completed"]))})
    assert RequestOptions.parse(encode_options(**options), COMPLETION) == expected


def test_a_request_changes_the_settings_it_names_and_no_others():
    settings = Settings(spacing_mm=3.0, threshold=0.6, smallest_mm3=100)
    assert parse().settings(settings) == settings
    assert parse(threshold="0.4").settings(settings) == replace(settings, threshold=0.4)
    assert parse(smallest_mm3="0").settings(settings) == replace(settings, smallest_mm3=0.0)
    assert parse(FINER, spacing_mm="0.5").settings(settings) == settings, "the answer's voxels are not the network's cells"


def test_text_that_no_header_could_carry_is_refused_before_it_is_sent():
    assert encode_options(output="implant", label=None, report=False) == {"output": "implant", "report": "0"}
    with pytest.raises(CalvariaError, match="output cannot be"):
        encode_options(output="implant\r\nHost: evil")
