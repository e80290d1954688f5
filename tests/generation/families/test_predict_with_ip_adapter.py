"""predict with Stable Diffusion and an IP-Adapter: the same pictures everywhere, runs told apart, controls as ever."""

import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import IPAdapterConfig
from tests.generation.conftest import Predict, pictures, summary
from tests.generation.families.tiny_ip import WEIGHTS, config
from tests.generation.tiny import N_TEST, space, write_brain

FAMILIES = ["sd15", "sdxl"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, brain, generator, ip_folders):
    """A whole run of each family."""
    run, root = Predict(brain, generator), tmp_path_factory.mktemp("whole")
    return {family: run(root / family, decoder=config(ip_folders, family)) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_do_not_depend_on_limit_ids_or_shards(tmp_path, predict, ip_folders, whole, family):
    decoder, expected = config(ip_folders, family), pictures(whole[family])
    assert len(expected) == N_TEST
    assert len(set(expected.values())) == N_TEST
    few = pictures(predict(tmp_path / "few", decoder=decoder, data_limit=2))
    some = [item["nsdId"] for item in summary(whole[family])["results"]][4:]
    chosen = pictures(predict(tmp_path / "some", decoder=decoder, data_nsd_ids=some))
    assert few == {name: expected[name] for name in list(few)}
    assert chosen == {name: expected[name] for name in list(chosen)}
    for shard in ("2/2", "1/2"):
        shared = predict(tmp_path / "shared", decoder=decoder, data_shard=shard)
    assert pictures(shared) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_goes_on_and_another_is_refused(tmp_path, predict, ip_folders, family):
    folder, decoder = tmp_path / "run", config(ip_folders, family)
    before = pictures(predict(folder, decoder=decoder, data_limit=2))
    after = pictures(predict(folder, decoder=decoder, data_limit=4))
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    changed = IPAdapterConfig(decoder.ip_adapter.model_id, weight_name=WEIGHTS, scale=0.5)
    for other in (config(ip_folders, family, prompt="x"), config(ip_folders, family, ip_adapter=changed)):
        with pytest.raises(BadInputError, match=r"prompt|scale"):
            predict(folder, decoder=other, data_limit=4)


@pytest.mark.parametrize("family", FAMILIES)
def test_controls_and_predictions_differ(tmp_path, predict, ip_folders, whole, family):
    kinds = ("shuffled", "true_target", "mean", "unconditional")
    drawn = [
        pictures(predict(tmp_path / kind, decoder=config(ip_folders, family), data_limit=3, condition=kind))
        for kind in kinds
    ]
    drawn.append({name: data for name, data in pictures(whole[family]).items() if name in drawn[0]})
    for place, some in enumerate(drawn):
        assert all(some[name] != other[name] for other in drawn[:place] for name in some)


def test_the_summary_names_model_adapter_and_checker(ip_folders, whole):
    for family in FAMILIES:
        found = summary(whole[family])
        assert found["diffusion_model"] == str(ip_folders[family][0])
        decoder = found["provenance"]["decoder"]
        assert decoder["decoder.ip_adapter"] == {"model_id": str(ip_folders[family][1]), "weight_name": WEIGHTS}
        assert decoder.get("decoder.safety_checker") == (False if family == "sd15" else None)


def test_a_space_of_another_model_is_refused_before_anything_is_loaded(tmp_path, generator, ip_folders):
    """The adapter's target and the IP-Adapter's declared space carry probe vectors."""
    from fmri_lightning.generation.module import ReconstructionModule

    other = space("other-source", 12, 5)
    run = Predict(write_brain(tmp_path / "brain", other), generator)
    folder = tmp_path / "adapter"
    (folder / "models").mkdir(parents=True)
    source = ip_folders["sd15"][1] / WEIGHTS
    (folder / WEIGHTS).write_bytes(source.read_bytes())
    (folder / "models" / "embedding_space.json").write_text(space("tiny-target", 16, 99).to_json())
    beside = IPAdapterConfig(str(folder), weight_name=WEIGHTS)
    with pytest.raises(BadInputError, match="probe pictures differ"):
        run(tmp_path / "run", decoder=config(ip_folders, "sd15", ip_adapter=beside))
    assert isinstance(run.module, ReconstructionModule)
    assert run.module.decoder is None
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_bill(tmp_path, predict, ip_folders, capsys):
    predict(tmp_path / "run", decoder=config(ip_folders, "sdxl"), dry_run=True)
    told = capsys.readouterr().out
    assert f"{N_TEST} pictures to draw" in told
    assert "pictures/s a device" in told
    assert not (tmp_path / "run").exists()
