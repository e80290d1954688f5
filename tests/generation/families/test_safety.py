"""The safety checker of Stable Diffusion 1.5: objects as the stock pipeline's does, no black picture is a result."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.errors import BadInputError, StageError
from fmri_lightning.evaluation.describe import describe_run
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.runs import load_run
from fmri_lightning.generation.families import safety
from fmri_lightning.generation.families.safety import load_safety_checker
from tests.generation.conftest import Predict, pictures, summary
from tests.generation.families.tiny_ip import config
from tests.generation.tiny import N_TEST

SIDE = 16
OFF = "safety checker of Stable Diffusion 1.x: off (model.decoder.safety_checker)"


@pytest.fixture(scope="module")
def unchecked(tmp_path_factory, brain, generator, ip_folders):
    """A run without the checker, and what it printed."""
    return Predict(brain, generator)(tmp_path_factory.mktemp("off") / "run", decoder=config(ip_folders, "sd15"))


def drawn_pictures(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((folder / "images").glob("*.png"))}


def tiny_checker():
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPVisionConfig

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE,
        patch_size=8, projection_dim=12,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(31)
        checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision.to_dict(), projection_dim=12)).eval()
        for weights in (checker.concept_embeds, checker.special_care_embeds):
            weights.data.normal_()
        checker.visual_projection.weight.data.normal_()
    # Beyond any cosine, but for one concept whose threshold the pictures decide.
    checker.special_care_embeds_weights.data.fill_(2.0)
    checker.concept_embeds_weights.data.fill_(2.0)
    return checker


def processor():
    from transformers import CLIPImageProcessor

    side = {"height": SIDE, "width": SIDE}
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side)


@pytest.fixture(scope="module")
def checked(tmp_path_factory, ip_folders, unchecked):
    """Stable Diffusion with a checker that objects to the three nearest to a concept; and to which."""
    checker, shown = tiny_checker(), drawn_pictures(unchecked)
    inputs = processor()([Image.fromarray(one) for one in shown.values()], return_tensors="pt").pixel_values
    with torch.no_grad():
        embedded = checker.visual_projection(checker.vision_model(inputs)[1])
        cosines = torch.nn.functional.cosine_similarity(embedded, checker.concept_embeds[:1])
    ranked = cosines.argsort(descending=True)
    third, fourth = cosines[ranked[2]].item(), cosines[ranked[3]].item()
    assert third - fourth > 0.004, "the checker rounds to three digits"
    checker.concept_embeds_weights.data[0] = (third + fourth) / 2
    base = tmp_path_factory.mktemp("checked") / "base"
    shutil.copytree(ip_folders["sd15"][0], base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker.save_pretrained(base / "safety_checker")
    return base, {list(shown)[place] for place in ranked[:3].tolist()}


def with_checker(ip_folders, checked, **changes):
    return config(ip_folders, "sd15", model_id=str(checked[0]), **{"safety_checker": True, **changes})


def test_it_objects_as_the_stock_pipeline_does(unchecked, checked, ip_folders):
    from tests.generation.families.tiny_ip import stock_pipeline

    shown = drawn_pictures(unchecked)
    flagged = load_safety_checker(checked[0]).flagged(torch.from_numpy(np.stack(list(shown.values()))))
    pipeline = stock_pipeline("sd15", ip_folders["sd15"][0])
    pipeline.safety_checker, pipeline.feature_extractor = load_safety_checker(checked[0]).model, processor()
    arrays = np.stack(list(shown.values())).astype(np.float32) / 255
    _, theirs = pipeline.run_safety_checker(arrays, "cpu", torch.float32)
    assert flagged.tolist() == [bool(one) for one in theirs]
    assert {name for name, one in zip(shown, flagged.tolist(), strict=True) if one} == checked[1]


@pytest.fixture(scope="module")
def held(tmp_path_factory, brain, generator, ip_folders, checked):
    """The run with the checker, and how it ended."""
    folder = tmp_path_factory.mktemp("on") / "run"
    with pytest.raises(StageError) as ended:
        Predict(brain, generator)(folder, decoder=with_checker(ip_folders, checked))
    return folder, str(ended.value)


def test_what_it_holds_back_is_a_listed_failure_and_no_picture(held, checked, unchecked):
    folder, said = held
    found = summary(folder)
    assert {f"nsd{one['nsdId']}_generated" for one in found["failures"]} == checked[1]
    assert {one["reason"] for one in found["failures"]} == {"held back by the safety checker"}
    assert found["n_generated"] == N_TEST - 3
    kept, before = pictures(folder), pictures(unchecked)
    assert kept == {name: before[name] for name in kept}, "those it lets through are the same bytes"
    assert not {f"images/{name}.png" for name in checked[1]} & set(kept)
    assert len(kept) == N_TEST - 3
    for one in found["failures"]:
        assert f"({one['trial_id']}, 0)" in said
    assert f"3 of {N_TEST} pictures are missing" in said
    assert "set model.decoder.safety_checker false" in said


def test_a_black_picture_is_never_scored(held):
    run = load_run(held[0])
    assert len(run.ids) == N_TEST - 3
    evaluation = Evaluation(Row(run.ids, {"pixcorr": np.zeros(N_TEST - 3)}), np.zeros(N_TEST - 3, np.int16))
    describe_run(evaluation, PROTOCOLS["demo"], run)
    said = [one["sentence"] for one in evaluation.header["caveats"]]
    assert len(said) == 1
    assert said[0].startswith(f"3 of {N_TEST} pictures were not drawn and are not scored")
    assert "held back by the safety checker: 3" in said[0]
    assert evaluation.header["protocol"] == f"demo, {N_TEST - 3} of {N_TEST}"


def test_off_is_said_recorded_and_loads_nothing(tmp_path, predict, ip_folders, monkeypatch, capsys):
    monkeypatch.setattr(safety, "SafetyChecker", None)
    folder = predict(tmp_path / "run", decoder=config(ip_folders, "sd15"), data_limit=1)
    assert OFF in capsys.readouterr().out.splitlines()
    assert summary(folder)["provenance"]["decoder"]["decoder.safety_checker"] is False
    assert predict.module.decoder.safety is None


def test_on_and_off_are_two_runs_and_on_is_not_called_off(tmp_path, predict, ip_folders, checked, capsys):
    off = config(ip_folders, "sd15", model_id=str(checked[0]))
    predict(tmp_path / "run", decoder=off, data_limit=1)
    capsys.readouterr()
    with pytest.raises(BadInputError, match=r"decoder\.safety_checker: False there, True asked for"):
        predict(tmp_path / "run", decoder=with_checker(ip_folders, checked), data_limit=1)
    assert OFF not in capsys.readouterr().out


@pytest.mark.parametrize("family", ["sdxl"])
def test_other_families_say_nothing_of_a_checker(tmp_path, predict, ip_folders, family, capsys):
    predict(tmp_path / "run", decoder=config(ip_folders, family), data_limit=1)
    assert "safety checker" not in capsys.readouterr().out


def test_a_folder_without_a_checker_is_refused(tmp_path, predict, ip_folders):
    with pytest.raises(BadInputError, match="holds no readable safety checker"):
        predict(tmp_path / "run", decoder=config(ip_folders, "sd15", safety_checker=True), data_limit=1)
