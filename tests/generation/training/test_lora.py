"""LoRA: it learns, leaves the base alone, is what diffusers loads, and goes on where it stopped."""

import copy

import lightning as L
import numpy as np
import pytest
import torch
from diffusers import StableUnCLIPImg2ImgPipeline
from safetensors.torch import load_file

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, Steering, load_decoder
from fmri_lightning.generation.lora import WEIGHTS_FILE, merge_lora, read_lora, weights_hash
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.generation.training.lora import ATTENTION, CONDITION, add_lora, lora_weights
from fmri_lightning.generation.training.tuning import TuningConfig
from fmri_lightning.generation.training.tuning_pairs import TuningPairDataModule
from fmri_lightning.seeding import torch_generator
from tests.generation.tiny import N_TRAIN
from tests.generation.training.tuning_kit import QUICK, trainer


def outputs(unet, dim):
    torch.manual_seed(3)
    channels, side = unet.config.in_channels, unet.config.sample_size
    latents, condition = torch.randn(2, channels, side, side), torch.randn(2, dim)
    with torch.no_grad():
        return unet(latents, torch.tensor([3, 700]), None, class_labels=condition, return_dict=False)[0]


def test_held_out_error_falls_and_only_by_training(trained, kit, tmp_path):
    module, folder, _ = trained
    found = read_lora(folder).manifest.config["heldout_error"]
    assert found["base"] == module.before
    assert found["lora"]["true"] < 0.9 * found["base"]["true"]
    still = kit.lora(tmp_path, training=TuningConfig(lr=0.0))
    trainer(tmp_path, 10).fit(still, datamodule=kit.data())
    errors = read_lora(tmp_path / "lora/subj01/tiny-target").manifest.config["heldout_error"]
    assert errors["lora"]["true"] == pytest.approx(errors["base"]["true"], rel=1e-6)
    assert errors["base"]["true"] == pytest.approx(found["base"]["true"], rel=1e-6), "the same noise each time"


def test_the_base_is_untouched_bit_by_bit(trained, kit):
    module, folder, _ = trained
    base = load_decoder(kit.decoder()).unet
    state = {name.replace(".base_layer", ""): value for name, value in module.decoder.unet.state_dict().items()}
    assert all(torch.equal(value, state[name]) for name, value in base.state_dict().items())
    assert read_lora(folder).base == weights_hash(base)
    assert all(parameter.dtype == torch.float32 for parameter in module.trained.values())


def test_it_saw_training_stimuli_of_its_share_and_says_which(trained, kit):
    _, folder, _ = trained
    found, table = read_lora(folder), kit.brain.table
    train = np.unique(table.nsd_id[table.split == "train"])
    assert len(found.nsd_ids) == N_TRAIN - N_TRAIN // 4
    assert set(found.nsd_ids) < set(train)
    assert set(found.manifest.inputs) == {"split", "target_cache"}
    assert found.manifest.config["fitted_on"]["n_stimuli"] == len(found.nsd_ids)


@pytest.mark.parametrize("model_id", [None, "tiny"])
def test_merged_is_unmerged_and_closed_form(model_id, kit, tmp_path):
    """On the mini model too; alpha is not the rank, and a convolution is among the targets."""
    from fmri_lightning.generation.lora import write_lora

    config = DecoderConfig("mini", None if model_id is None else str(kit.generator))
    decoder = load_decoder(config)
    plain, adapted = decoder.unet, copy.deepcopy(decoder.unet)
    torch.manual_seed(0)
    add_lora(adapted, 4, 12.0, 0.0, (*ATTENTION, *CONDITION, "conv_out"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    weights, dim = lora_weights(adapted), 2 * decoder.space.dim
    write_lora(tmp_path, weights, np.array([1]), decoder.space, weights_hash(plain), {}, {})
    before = outputs(plain, dim)
    by_hand = {name: value.clone() for name, value in plain.state_dict().items()}
    for name in (name.removesuffix(".lora_A.weight") for name in weights if "lora_A" in name):
        a, b = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
        by_hand[f"{name}.weight"] += (b.flatten(1) @ a.flatten(1)).reshape(by_hand[f"{name}.weight"].shape)
    merge_lora(plain, tmp_path)
    assert list(plain.state_dict()) == list(by_hand), "nothing of peft is left"
    assert all(torch.allclose(value, by_hand[name], atol=1e-6) for name, value in plain.state_dict().items())
    torch.testing.assert_close(outputs(plain, dim), outputs(adapted, dim), atol=1e-5, rtol=1e-5)
    assert (outputs(plain, dim) - before).abs().max() > 1e-3


def test_diffusers_loads_the_file_by_itself(trained, kit):
    """By pipeline and by U-Net, with the same answer as our merge."""
    _, folder, _ = trained
    ours = load_decoder(DecoderConfig("mini", str(kit.generator), lora=str(folder)))
    dim = 2 * ours.space.dim

    def pipeline():
        absent = dict.fromkeys(["image_encoder", "feature_extractor", "text_encoder", "tokenizer"])
        return StableUnCLIPImg2ImgPipeline.from_pretrained(kit.generator, use_safetensors=True, **absent)

    pipe = pipeline()
    base = outputs(pipe.unet, dim)
    pipe.load_lora_weights(folder)
    torch.testing.assert_close(outputs(pipe.unet, dim), outputs(ours.unet, dim), atol=1e-5, rtol=1e-5)
    alone = pipeline().unet
    alone.load_lora_adapter(folder, prefix="unet", weight_name=WEIGHTS_FILE)
    torch.testing.assert_close(outputs(alone, dim), outputs(ours.unet, dim), atol=1e-5, rtol=1e-5)
    assert (outputs(ours.unet, dim) - base).abs().max() > 1e-2
    assert all(name.startswith("unet.") for name in load_file(folder / WEIGHTS_FILE))


class StopAt(L.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


def test_a_resumed_run_ends_in_the_weights_of_a_whole_one(kit, tmp_path):
    """With dropout and predictions among the embeddings, whose draws must go on too."""
    options = {"dropout": 0.2}
    mixed = {"out_of_fold": str(kit.folder / "target" / "out_of_fold")}
    whole = kit.lora(tmp_path / "whole", **options)
    trainer(tmp_path / "whole", 20).fit(whole, datamodule=kit.data(**mixed))
    first = kit.lora(tmp_path / "cut", **options)
    trainer(tmp_path / "cut", 20, StopAt(1)).fit(first, datamodule=kit.data(**mixed))
    assert not (tmp_path / "cut" / "lora").exists(), "a fit that was cut short writes no LoRA"
    again = kit.lora(tmp_path / "cut", **options)
    run = trainer(tmp_path / "cut", 20)
    run.fit(again, datamodule=kit.data(**mixed), ckpt_path=str(tmp_path / "cut" / "last.ckpt"))
    assert run.global_step == 20
    one, other = (read_lora(tmp_path / name / "lora/subj01/tiny-target") for name in ("whole", "cut"))
    assert one.manifest.content_hash == other.manifest.content_hash
    assert one.manifest.config["heldout_error"] == other.manifest.config["heldout_error"]
    assert set(one.manifest.config["heldout_error"]["lora"]) == {"true", "predicted"}
    assert "out_of_fold" in one.manifest.inputs


def test_a_checkpoint_holds_what_was_trained_and_goes_with_nothing_else(trained, kit, tmp_path):
    module, _, folder = trained
    stored = torch.load(folder / "last.ckpt", weights_only=True)
    assert len(stored["state_dict"]) == 2 * len(module.trained)
    other = kit.lora(tmp_path, rank=2)
    with pytest.raises(BadInputError, match="another decoder or other settings"):
        trainer(tmp_path).fit(other, datamodule=kit.data(), ckpt_path=str(folder / "last.ckpt"))


def test_the_u_net_is_told_what_predict_tells_it(kit, tmp_path):
    """Embedding with noise of its level, and a prediction whose level is told and not added."""
    module = kit.lora(tmp_path)
    decoder = module.loaded()
    embeddings = torch.randn(2, decoder.space.dim, generator=torch_generator(1))
    level = module.training_config.predicted_noise_level
    for mode, predicted, levels in (("add", False, 70), ("label_only", True, level)):
        generators = [torch_generator(seed) for seed in (4, 5)]
        options = SamplingOptions(noise_level=levels, noise_mode=mode)
        theirs = decoder.conditioning(embeddings, generators, options, False, Steering()).class_labels[2:]
        noise = torch.cat([torch.randn(1, decoder.space.dim, generator=torch_generator(seed)) for seed in (4, 5)])
        ours = module.told(embeddings, torch.full((2,), predicted), torch.tensor([70, 70]), noise)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_error_is_that_of_the_decoders_own_prediction(kind, kit, tmp_path):
    """A step back by diffusers' DDIM from the wanted output lands on the clean latents."""
    from diffusers import DDIMScheduler

    module = kit.lora(tmp_path)
    decoder = module.loaded()
    module.diffusion.register_to_config(prediction_type=kind)
    scheduler = DDIMScheduler.from_config(decoder.schedule, prediction_type=kind)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=torch_generator(1))
    asked = {}

    def silent(noised, *_, **__):
        asked["noised"] = noised
        return (torch.zeros_like(noised),)

    decoder.unet.forward = silent
    times, condition = torch.tensor([400]), torch.zeros(1, 2 * decoder.space.dim)
    error = module.error(latents, condition, noise, times)
    wanted = {"epsilon": noise, "sample": latents}.get(kind)
    if wanted is None:
        wanted = scheduler.get_velocity(latents, noise, times)
    assert float(error) == pytest.approx(float(wanted.square().mean()), rel=1e-5)
    scheduler.set_timesteps(1000)
    clean = scheduler.step(wanted, 400, asked["noised"]).pred_original_sample
    torch.testing.assert_close(clean, latents, atol=1e-4, rtol=1e-4)


def test_a_share_of_the_embeddings_is_predicted_and_others_in_every_step(kit, tmp_path):
    data = kit.data(out_of_fold=str(kit.folder / "target" / "out_of_fold"), out_of_fold_share=0.5)
    run = trainer(tmp_path, 10)
    seen = []

    class Watching(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch[2].tolist())

    run.callbacks.append(Watching())
    run.fit(kit.lora(tmp_path), datamodule=data)
    assert 0.3 < np.mean(seen) < 0.7
    assert len({tuple(one) for one in seen}) > 5


def test_what_does_not_fit_is_refused_before_training(kit, tmp_path, monkeypatch):
    def fit(module, data):
        trainer(tmp_path, 2).fit(module, datamodule=data)

    with pytest.raises(BadInputError, match="one embedding space"):
        fit(kit.lora(tmp_path), kit.data(target_cache=str(kit.folder / "clip.parquet")))
    with pytest.raises(UsageError, match="no layer of this U-Net is called …to_x"):
        fit(kit.lora(tmp_path, target_modules=("to_x",)), kit.data())
    with pytest.raises(UsageError, match="rank starts at 1"):
        kit.lora(tmp_path, rank=0)
    with pytest.raises(UsageError, match="must not be shown a test stimulus"):
        fit(kit.lora(tmp_path), kit.data(index_root=None))
    with pytest.raises(UsageError, match="is for predict"):
        fit(kit.lora(tmp_path, decoder=DecoderConfig("mini", str(kit.generator), lora="x")), kit.data())
    with pytest.raises(UsageError, match="unclip or mini here"):
        fit(kit.lora(tmp_path, decoder=DecoderConfig("none")), kit.data())
    with pytest.raises(UsageError, match="out_of_fold_share"):
        TuningPairDataModule(out_of_fold_share=0.0)
    with pytest.raises(UsageError, match="takes latents of a decoder"):
        kit.data().setup("fit")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UsageError, match=r"pip install fmri-lightning\[lora\]"):
        fit(kit.lora(tmp_path), kit.data())
    assert not (tmp_path / "lora").exists()


def test_bf16_mixed_trains_float32_weights(kit, tmp_path):
    module = kit.lora(tmp_path, training=QUICK)
    trainer(tmp_path, 10, precision="bf16-mixed").fit(module, datamodule=kit.data())
    errors = read_lora(tmp_path / "lora/subj01/tiny-target").manifest.config["heldout_error"]
    assert errors["lora"]["true"] < errors["base"]["true"]
    assert {parameter.dtype for parameter in module.trained.values()} == {torch.float32}
