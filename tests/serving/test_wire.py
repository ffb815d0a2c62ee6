"""What travels: headers that any proxy takes, ZIPs that may be broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.serving.wire import HEADER_BYTES, decode_refusal, header_text, pack, stage_seconds, timing_text, unpack


def test_few_sentences_are_all_in_the_header():
    assert header_text(["One.", "Two."]) == "One. Two."
    assert header_text([]) == ""


@pytest.mark.parametrize("count", [30, 63])
def test_of_many_sentences_the_header_says_how_many_are_left(count):
    text = header_text([f"Label {number} is unlike what the network learned from: it is left as it is." for number in range(count)])
    assert len(text) < HEADER_BYTES + 60
    told = text.count("is left as it is")
    assert text.endswith(f"And {count - told} more: ask for a report.")


def test_a_damaged_zip_is_refused():
    packed = pack({"report.json": b"{}" * 500})
    where = packed.index(b"report.json") + len("report.json")
    with pytest.raises(CalvariaError) as refused:
        unpack(packed[:where] + b"\xff\xff\xff\xff" + packed[where + 4 :])
    assert refused.value.code is ErrorCode.TRUNCATED


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), st.floats(0, 1e4), max_size=8))
def test_stage_times_come_back_from_their_header(seconds):
    assert stage_seconds(timing_text(seconds)) == pytest.approx(seconds, abs=6e-7)


@pytest.mark.parametrize("body", [b'{"error": ' + b"[" * 100_000, b'{"error": {}}', b"{", b"volume"])
def test_what_holds_no_refusal_is_none(body):
    assert decode_refusal(body) is None


def test_of_a_proxys_own_timing_durations_are_read():
    assert stage_seconds("edge;dur=1.2.3, network;dur=3.0") == {"edge": 0.0012, "network": 0.003}
    assert stage_seconds('cache;desc="hit", edge-1;dur=12.5, network;dur=3.0') == {"edge-1": 0.0125, "network": 0.003}
