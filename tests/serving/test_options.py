import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.serving.options import RequestOptions

OUTPUTS = ("completed", "implant")


def parse(**given: str) -> RequestOptions:
    return RequestOptions.parse(given, OUTPUTS)


def test_without_options_the_first_output_in_the_inputs_format():
    assert parse() == RequestOptions("completed", None, None)


def test_options_as_fields():
    assert parse(output="implant", format="nii.gz", label="2") == RequestOptions("implant", "nii.gz", 2)


def test_options_as_json_and_a_field_beats_them():
    assert parse(options='{"output": "implant", "label": 3}', label="2") == RequestOptions("implant", None, 2)


@pytest.mark.parametrize("given", [{"outptu": "implant"}, {"Output": "implant"}, {"options": '{"outptu": 1}'}, {"": ""}])
def test_unknown_option_names_the_known_ones(given):
    with pytest.raises(CalvariaError, match="output, format, label") as caught:
        parse(**given)
    assert caught.value.code is ErrorCode.UNKNOWN_OPTION


@pytest.mark.parametrize(
    "given",
    [
        {"output": "mask"},
        {"output": ""},
        {"format": "stl"},
        {"label": "0"},
        {"label": "-1"},
        {"label": "1.5"},
        {"label": "²"},
        {"label": "9" * 5000},
        {"options": "["},
        {"options": "[]"},
        {"options": "[" * 100_000},
        {"options": '{"label": null}'},
    ],
)
def test_bad_value(given):
    with pytest.raises(CalvariaError) as caught:
        parse(**given)
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert len(caught.value.message) < 250


@given(st.dictionaries(st.sampled_from(["output", "format", "label", "options", "x"]) | st.text(), st.text()))
def test_any_text_is_either_options_or_a_refusal(given):
    try:
        outcome = RequestOptions.parse(given, OUTPUTS).output
    except CalvariaError as error:
        outcome = error.code
    assert outcome in {*OUTPUTS, ErrorCode.UNKNOWN_OPTION, ErrorCode.BAD_OPTION}
