"""What is sent, and in which order."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode
from calvaria.serving.service import Request, Service
from loadtest.bad import BAD
from loadtest.workload import Ingredient, choices, make_item, parse_mix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64", [("64", 1.0)]),
        ("64:5,128:3,256:1", [("64", 5.0), ("128", 3.0), ("256", 1.0)]),
        (" 64:0.5 , bad:garbage ", [("64", 0.5), ("bad:garbage", 1.0)]),
        ("bad:nrrd-bomb:2", [("bad:nrrd-bomb", 2.0)]),
        ("shell:32,shell:48:2", [("shell:32", 1.0), ("shell:48", 2.0)]),
    ],
)
def test_a_mix_is_sizes_and_bad_bodies_with_weights(text, expected):
    assert parse_mix(text) == [Ingredient(*each) for each in expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "64,",
        "4:1",
        "9999",
        "64:0",
        "64:-1",
        "64:x",
        "64:1.2.3",
        "bad:",
        "bad:luck",
        "64:1:2",
        "64,64:2",
        "shell:",
        "shell:4",
        "shell:x",
    ],
)
def test_another_mix_is_refused(text):
    with pytest.raises(CalvariaError) as caught:
        parse_mix(text)
    assert caught.value.code is ErrorCode.BAD_OPTION


@given(st.integers(0, 2**31), st.lists(st.floats(0.1, 10), min_size=1, max_size=4), st.integers(1, 5))
def test_the_order_is_a_function_of_the_seed_and_stays_in_range(seed, weights, variants):
    mix = [Ingredient(str(64 + place), weight) for place, weight in enumerate(weights)]
    first, again = (list(islice(choices(mix, variants, ("http", "grpc"), seed), 60)) for _ in range(2))
    assert first == again
    assert {place for place, _, _ in first} <= set(range(len(mix)))
    assert {variant for _, variant, _ in first} <= set(range(variants))


def test_shares_follow_the_weights():
    mix = parse_mix("64:5,128:3,bad:empty:2")
    drawn = list(islice(choices(mix, 2, ("http", "grpc"), 1), 10_000))
    shares = np.array([count for _, count in sorted(Counter(place for place, _, _ in drawn).items())]) / len(drawn)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.02)
    for seen in (Counter(variant for _, variant, _ in drawn), Counter(transport for _, _, transport in drawn)):
        np.testing.assert_allclose(np.array(list(seen.values())) / len(drawn), [0.5, 0.5], atol=0.02)


def test_shells_are_small_in_millimetres_too():
    one, other, again = (decode(make_item(Ingredient("shell:32"), variant, 3, {}).body).volume for variant in (0, 1, 0))
    assert (one.shape, one.spacing_mm) == ((32, 32, 32), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(one.mask, again.mask)
    assert (one.mask != other.mask).any()


def test_skulls_have_their_size_and_a_seed_makes_them_again():
    items = [make_item(Ingredient("48"), variant, 3, {"output": "implant"}) for variant in (0, 1, 0)]
    volumes = [decode(item.body).volume for item in items]
    assert [volume.shape for volume in volumes] == [(48, 48, 48)] * 3
    assert all(1000 < volume.occupied < 40_000 for volume in volumes)
    assert items[0].body == items[2].body != items[1].body
    assert items[0].options == {"output": "implant"}
    assert items[0].expected == ("ok",)


@pytest.mark.parametrize("name", sorted(BAD.keys() - {"oversize"}))
def test_bad_bodies_are_refused_as_they_expect(name, predictor):
    """By the service itself; what is oversize, TorchServe refuses before."""
    item = make_item(Ingredient(f"bad:{name}"), 0, 1, {"output": "implant"})
    (response,) = Service(predictor).handle([Request(item.body, item.options)])
    assert response.code in item.expected


def test_an_oversize_body_has_more_than_the_configured_limit(repository):
    item = make_item(Ingredient("bad:oversize"), 0, 1, {"output": "implant"})
    assert len(item.body) == int(repository.values["max_request_size"]) + 1
