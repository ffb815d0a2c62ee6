"""The plan decides as the module does, on every engine: what is served is what was trained."""

from collections.abc import Iterator

import pytest
import torch

from calvaria.networks import CONFIGS, EncoderDecoder, Level, NetworkConfig, pyramid
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.sparse.engines import choose
from calvaria.sparse.engines import engine as engine_of


def trained_like(config: NetworkConfig, seed: int = 0) -> EncoderDecoder:
    """An untrained network whose normalisation has statistics, scales and shifts as training leaves them, and whose heads waver."""
    torch.manual_seed(seed)
    network = EncoderDecoder(config)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.3, 0.5)
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.3, 2.0)
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, 0.0)
    return network.eval()


def shells(*sizes: int) -> list[torch.Tensor]:
    def shell(size: int) -> torch.Tensor:
        axis = torch.arange(size) - size / 2 + 0.5
        distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
        return (distance - 0.4 * size).abs() < 1.2

    return [shell(size) for size in sizes]


def blocks() -> Iterator[tuple[str, list[torch.Tensor]]]:
    yield "shells", shells(40, 23, 70)
    yield "empty", [torch.zeros(9, 5, 7, dtype=torch.bool)]
    yield "empty beside another", [torch.zeros(9, 5, 7, dtype=torch.bool), *shells(20)]
    yield "one voxel", [torch.ones(1, 1, 1, dtype=torch.bool)]
    yield "full block", [torch.ones(17, 6, 67, dtype=torch.bool)]
    yield "noise", [torch.rand(30, 20, 70, generator=torch.Generator().manual_seed(1)) < 0.1]


def equal_sites(ours: SiteSet, theirs: SiteSet) -> bool:
    return (ours.extents, ours.stride) == (theirs.extents, theirs.stride) and torch.equal(ours.words, theirs.words)


def assert_same_decisions(ours: list[Level], theirs: list[Level]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert equal_sites(mine.sites, other.sites)
        assert equal_sites(mine.kept, other.kept)
        size = float(other.logits.abs().max()) if len(other.logits) else 0.0
        torch.testing.assert_close(mine.logits, other.logits, atol=2e-5 * size, rtol=0)


@pytest.mark.parametrize("masks", [pytest.param(masks, id=name) for name, masks in blocks()])
@pytest.mark.parametrize("channels", [CONFIGS["ch1"].channels, (5, 3, 7, 9, 20, 11, 6)], ids=["ch1", "odd"])
@torch.no_grad()
def test_given_the_kept_sites_the_plan_has_the_modules_sites_and_logits(
    masks: list[torch.Tensor], channels: tuple[int, ...], engine: str
) -> None:
    network = trained_like(NetworkConfig(channels))
    expected = network(SiteSet.from_masks(masks, "reference"), SiteSet.from_masks(masks, "reference"), forced=True)
    sites = SiteSet.from_masks(masks, engine)
    levels = Plan(network)(sites, sites)
    assert_same_decisions(levels, expected)
    assert all(equal_sites(level.kept, given) for level, given in zip(levels, reversed(pyramid(sites)[:-1]), strict=True))


@pytest.mark.parametrize("inputs", [0, 3])
@pytest.mark.parametrize("grows", [True, False])
@torch.no_grad()
def test_channels_made_a_multiple_of_eight_change_nothing(inputs: int, grows: bool, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    network = trained_like(NetworkConfig((22, 17, 16, 9, 39, 20, 33), inputs=inputs, grows=grows))
    computed = NetworkConfig.computed_channels
    assert computed(network.config, "cuda") == (24, 24, 16, 9, 40, 24, 40)
    assert computed(network.config, "cpu") == network.config.channels
    masks = shells(40, 23)
    sites = SiteSet.from_masks(masks, engine)
    features = torch.rand(len(sites), inputs) if inputs else None
    monkeypatch.setattr(NetworkConfig, "computed_channels", lambda self, _: computed(self, "cuda"))
    assert_same_decisions(Plan(network)(sites, features=features), network(SiteSet.from_masks(masks, "reference"), features=features))


@pytest.mark.parametrize(("grows", "growth", "expected"), [(True, 9.0, 1 + 6 + 1), (False, 2.0, 1)])
def test_the_host_asks_for_numbers_of_sites_once_a_level(
    grows: bool, growth: float, expected: int, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU it waits for each; once more for what the last level keeps."""
    asked: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            function = getattr(engine_of(engine, "cpu"), name)
            if name not in ("index", "index_all", "candidates"):
                return function
            return lambda *given: asked.append(name) or function(*given)

    plan, sites = Plan(trained_like(NetworkConfig((3,) * 7, grows=grows, growth=growth))), SiteSet.from_masks(shells(40, 23), engine)
    monkeypatch.setattr("calvaria.sparse.sites.engine", lambda *_: Watched())
    levels = plan(sites)
    assert len(asked) == expected, asked
    assert [level.sites.stride for level in levels] == [32, 16, 8, 4, 2, 1]


def test_sites_on_another_device_than_the_network_are_refused() -> None:
    plan, sites = Plan(trained_like(NetworkConfig((3,) * 7))), SiteSet.from_masks(shells(20), "reference")
    with pytest.raises(ValueError, match="sites on meta for a network on cpu"):
        plan(SiteSet(sites.words.to("meta"), sites.extents, 1, "reference"))


@pytest.mark.parametrize("masks", [pytest.param(masks, id=name) for name, masks in blocks()])
@pytest.mark.parametrize("inputs", [0, 1, 3])
@pytest.mark.parametrize("grows", [True, False])
@torch.no_grad()
def test_sites_may_come_with_numbers_and_may_be_all_there_are(masks: list[torch.Tensor], inputs: int, grows: bool, engine: str) -> None:
    network = trained_like(NetworkConfig((5, 3, 7, 9, 20, 11, 6), inputs=inputs, grows=grows))
    reference, sites = SiteSet.from_masks(masks, "reference"), SiteSet.from_masks(masks, engine)
    features = torch.rand(len(sites), inputs) if inputs else None
    levels = Plan(network)(sites, features=features)
    assert_same_decisions(levels, network(reference, features=features))
    if not grows:
        assert all(equal_sites(level.sites, given) for level, given in zip(levels, reversed(pyramid(sites)[:-1]), strict=True))


@pytest.mark.parametrize("keep_above", [0.0, -0.5])
@torch.no_grad()
def test_deciding_freely_the_plan_keeps_what_the_module_keeps(keep_above: float, engine: str) -> None:
    network = trained_like(NetworkConfig(CONFIGS["ch1"].channels, growth=1.2, keep_above=keep_above))
    levels = Plan(network)(SiteSet.from_masks(shells(40, 23), engine))
    expected = network(SiteSet.from_masks(shells(40, 23), "reference"))
    assert any(0 < len(level.kept) < len(level.sites) for level in expected)
    assert_same_decisions(levels, expected)


@torch.no_grad()
def test_the_plan_bounds_growth_for_each_item(engine: str) -> None:
    network = EncoderDecoder(CONFIGS["ch1"]).eval()
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, 1e6)
    sites = SiteSet.from_masks(shells(64, 30), engine)
    for level, given in zip(Plan(network)(sites), reversed(pyramid(sites)[:-1]), strict=True):
        assert all(kept <= 2 * count for kept, count in zip(level.kept.counts, given.counts, strict=True))


@torch.no_grad()
def test_everything_pruned_at_the_coarsest_level_leaves_the_encoders_sites_to_judge(engine: str) -> None:
    network = trained_like(CONFIGS["ch1"])
    torch.nn.init.constant_(network.decoder[0].head.bias, -1e6)
    levels = Plan(network)(SiteSet.from_masks(shells(40), engine))
    assert len(levels[0].kept) == 0
    assert equal_sites(levels[1].sites, pyramid(SiteSet.from_masks(shells(40), engine))[4])
    assert_same_decisions(levels, network(SiteSet.from_masks(shells(40), "reference")))


@torch.no_grad()
def test_an_item_of_a_batch_is_answered_bit_for_bit_as_alone() -> None:
    engine = choose("auto", "cpu")
    if engine == "reference":
        pytest.skip("matrix products of other heights round otherwise: only the native engine promises this")
    plan = Plan(trained_like(CONFIGS["ch1"]))
    together = plan(SiteSet.from_masks(shells(40, 23, 31), engine))[-1]
    for item, size in enumerate((40, 23, 31)):
        alone = plan(SiteSet.from_masks(shells(size), engine))[-1]
        assert torch.equal(together.logits[together.sites.places[:, 0] == item], alone.logits)


def test_a_plan_leaves_sites_fit_for_training_and_stays_as_the_network_was(engine: str) -> None:
    network = trained_like(CONFIGS["ch1"])
    plan = Plan(network)
    sites = SiteSet.from_masks(shells(23), engine)
    before = plan(sites, sites)
    sum(level.logits.sum() for level in network.train()(sites, sites)).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    for now, then in zip(plan(sites, sites), before, strict=True):
        assert torch.equal(now.logits, then.logits)


@pytest.mark.parametrize("kind", ["plan", "module"])
@pytest.mark.parametrize(("inputs", "given"), [(2, None), (0, (0, 1)), (2, (0, 3)), (2, (-1, 2))])
def test_features_that_do_not_fit_are_refused_on_every_engine(inputs: int, given: tuple[int, int] | None, kind: str, engine: str) -> None:
    network = trained_like(NetworkConfig((4,) * 7, inputs=inputs))
    sites = SiteSet.from_masks(shells(12), engine)
    features = None if given is None else torch.ones(len(sites) + given[0], given[1])
    with pytest.raises(ValueError, match=f"for {len(sites)} "):
        (Plan(network) if kind == "plan" else network)(sites, features=features)


def test_the_order_of_features_in_memory_does_not_matter(engine: str) -> None:
    plan, sites = Plan(trained_like(NetworkConfig((4,) * 7, inputs=3))), SiteSet.from_masks(shells(12), engine)
    features = torch.rand(len(sites), 3)
    assert_same_decisions(plan(sites, features=features.T.contiguous().T), plan(sites, features=features))
