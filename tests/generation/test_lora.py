"""A LoRA in predict and doctor: merged where it belongs, refused where it does not, known only when it is named."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from fmri_lightning.doctor.leaks.loras import check_lora as check_for_leaks
from fmri_lightning.doctor.lineage.artefact import read_artefact
from fmri_lightning.doctor.lineage.verify import check_bytes
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, load_decoder
from fmri_lightning.generation.lora import WEIGHTS_FILE, check_lora, read_lora, weights_hash, write_lora
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import SOURCE, TARGET


def lora_of(generator, folder, ids, space=TARGET, base=None, inputs=None):
    from fmri_lightning.generation.training.lora import add_lora, lora_weights

    unet = load_decoder(DecoderConfig("mini", str(generator))).unet
    base = base or weights_hash(unet)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        add_lora(unet, 2, 2.0, 0.0, ("to_q", "to_v", "time_emb_proj"))
        weights = {name: torch.randn_like(value) * 0.3 for name, value in lora_weights(unet).items()}
    write_lora(folder, weights, np.array(ids), space, base, inputs or {}, {"rank": 2})
    return folder


@pytest.fixture(scope="module")
def train_ids(brain):
    return np.unique(brain.table.nsd_id[brain.table.split == "train"])


@pytest.fixture(scope="module")
def folder(generator, train_ids, tmp_path_factory):
    return lora_of(generator, tmp_path_factory.mktemp("lora") / "lora", train_ids[:5])


def test_predict_draws_with_it_and_says_so(predict, generator, folder, tmp_path, capsys):
    base = predict(tmp_path / "base", data_limit=3)
    with_it = DecoderConfig("mini", str(generator), lora=str(folder))
    drawn = predict(tmp_path / "lora", decoder=with_it, data_limit=3)
    assert all(pictures(base)[name] != picture for name, picture in pictures(drawn).items())
    told = summary(drawn)["provenance"]
    assert told["inputs"]["lora"] == read_lora(folder).manifest.content_hash
    assert told["decoder"]["lora"] == str(folder)
    known = json.dumps([summary(base), json.loads((base / "manifest.json").read_text())])
    assert "lora" not in known, "a run without a LoRA knows nothing of it"
    with pytest.raises(BadInputError, match=r"holds another run .*lora"):
        predict(tmp_path / "base", decoder=with_it, data_limit=3)
    capsys.readouterr()
    predict(tmp_path / "dry", decoder=with_it, data_limit=3, dry_run=True)
    assert f"LoRA of {folder} merged" in capsys.readouterr().out


def test_what_does_not_belong_is_refused(predict, generator, brain, train_ids, folder, tmp_path, monkeypatch):
    def refused(match, error=BadInputError, family="mini", **changes):
        made = lora_of(generator, tmp_path / "made", **{"ids": train_ids[:3], **changes})
        with pytest.raises(error, match=match):
            predict(tmp_path / "out", decoder=DecoderConfig(family, str(generator), lora=str(made)), data_limit=2)

    test_id = int(brain.table.nsd_id[brain.table.split == "test"].max())
    # The test set counts as a whole: the stimulus is not among the two that are drawn.
    refused(rf"trained on 1 stimuli of this run's test set \(nsd_id {test_id}\)", ids=[*train_ids[:3], test_id])
    refused("one embedding space", space=SOURCE)
    refused("one embedding space", space=dataclasses.replace(TARGET, probe=tuple(TARGET.probe[::-1])))
    refused("trained on another U-Net", base="0" * 64)
    refused("goes with family", UsageError, family="nearest_neighbour")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    refused_without = DecoderConfig("mini", str(generator), lora=str(folder))
    with pytest.raises(UsageError, match=r"pip install fmri-lightning\[lora\]"):
        predict(tmp_path / "out", decoder=refused_without, data_limit=2)


def test_damage_is_seen(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy")
    np.save(copied / "nsd_ids.npy", np.array([1, 2], np.int32))
    with pytest.raises(BadInputError, match="own content hash"):
        read_lora(copied)
    (copied / WEIGHTS_FILE).write_bytes(b"cut off")
    with pytest.raises(BadInputError, match="damaged or not whole"):
        check_lora(DecoderConfig("mini", lora=str(copied)), TARGET, np.array([9]))
    with pytest.raises(BadInputError, match=f"no lora at {tmp_path}"):
        read_lora(tmp_path)


def test_doctor_knows_it(predict, generator, brain, train_ids, tmp_path):
    from fmri_lightning.doctor.leaks.parts import RunParts
    from fmri_lightning.index.table import index_manifest

    made = lora_of(generator, tmp_path / "lora", train_ids[:4])
    run = predict(tmp_path / "run", decoder=DecoderConfig("mini", str(generator), lora=str(made)), data_limit=2)

    def parts():
        import fmri_lightning.manifest as records
        from fmri_lightning.embeddings.cache import EmbeddingCache

        data = {"subject": "subj01", **brain.data}
        return RunParts(
            run, records.read_manifest(run, "reconstructions"), data, {"decoder": {"lora": str(made)}},
            index_manifest(brain.data["index_root"], "subj01"), brain.table,
            {"target_cache": EmbeddingCache.open(brain.data["target_cache"])},
        )  # fmt: skip

    assert parts().used("lora")
    assert "4 of the 20 training stimuli" in check_for_leaks(parts())
    assert read_artefact(made).kind == "lora"
    assert "matches" in check_bytes(read_artefact(made), verify=True)
    split = index_manifest(brain.data["index_root"], "subj01").config["split_hash"]
    for ids, inputs, match in (
        ([3, 999], {}, r"was trained on 1 stimuli: nsd_id 999"),
        (train_ids[:4], {"split": "0" * 64}, "split"),
        (train_ids[:4], {"split": split, "target_cache": "0" * 64}, "target_cache"),
    ):
        lora_of(generator, made, ids, inputs=inputs)
        changed = parts()
        if list(ids) != list(train_ids[:4]):
            with pytest.raises(BadInputError, match="not the one this run was drawn with"):
                check_for_leaks(changed)
        changed.manifest.inputs["lora"] = read_lora(made).manifest.content_hash
        with pytest.raises(BadInputError, match=match):
            check_for_leaks(changed)
