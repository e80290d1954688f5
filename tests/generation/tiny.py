"""A tiny brain, tiny maps and a tiny unCLIP model, all written by the classes that real runs use."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmri_lightning.records import EmbeddingSpace, TrialTable

N_SOURCE, N_TARGET, N_VOXELS = 12, 16, 30
N_TRAIN, N_VAL, N_TEST = 20, 2, 7


def space(name: str, dim: int, seed: int, **changes) -> EmbeddingSpace:
    probe = np.random.default_rng(seed).normal(size=(8, dim))
    fields = {
        "name": name,
        "model_id": name,
        "revision": "",
        "dim": dim,
        "pooling": "projection",
        "scale": "raw",
        "probe": tuple(map(tuple, probe.tolist())),
    }
    return EmbeddingSpace(**{**fields, **changes})


SOURCE = space("tiny-source", N_SOURCE, 1)
TARGET = space("tiny-target", N_TARGET, 2)


def generator_parts(seed: int = 0):
    from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            mid_block_type="UNetMidBlock2D",
            block_out_channels=(16, 32),
            layers_per_block=1,
            attention_head_dim=8,
            norm_num_groups=8,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * N_TARGET,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=0.5,
        )
        normalizer = StableUnCLIPImageNormalizer(N_TARGET)
        with torch.no_grad():
            normalizer.mean.normal_()
            normalizer.std.uniform_(0.5, 1.5)
    return {
        "feature_extractor": None,
        "image_encoder": None,
        "image_normalizer": normalizer.eval(),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": None,
        "text_encoder": None,
        "unet": unet.eval(),
        "scheduler": DDIMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear", clip_sample=False),
        "vae": vae.eval(),
    }


def write_generator(folder: Path, declared: EmbeddingSpace | None = TARGET) -> Path:
    from diffusers import StableUnCLIPImg2ImgPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = generator_parts()
        StableUnCLIPImg2ImgPipeline(**parts).save_pretrained(folder)
        # In shards, as the mini model ships: no file of the repository may be large.
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        parts["unet"].save_pretrained(folder / "unet", max_shard_size="200KB")
    if declared is not None:
        (folder / "embedding_space.json").write_text(declared.to_json())
    return folder


@dataclass(frozen=True)
class Brain:
    folder: Path
    table: TrialTable

    @property
    def data(self) -> dict:
        """Arguments of ReconstructionDataModule."""
        return {
            "index_root": str(self.folder / "index"),
            "betas": str(self.folder / "betas"),
            "preproc": str(self.folder / "preproc"),
            "clip_cache": str(self.folder / "clip.parquet"),
            "target_cache": str(self.folder / "target.parquet"),
            "subject": "subj01",
        }

    @property
    def model(self) -> dict:
        """Arguments of ReconstructionModule but for the decoder."""
        return {"encoder_ckpt": str(self.folder / "ridge.ckpt"), "adapter_ckpt": str(self.folder / "adapter.ckpt")}


def trial_table() -> TrialTable:
    shown = []  # (nsd_id, split), in random order of presentation
    for nsd_id in range(N_TRAIN + N_VAL + N_TEST):
        split = "train" if nsd_id < N_TRAIN else "val" if nsd_id < N_TRAIN + N_VAL else "test"
        repeats = 3 if split == "test" and nsd_id % 3 else 2
        shown += [(10 * nsd_id + 3, split)] * repeats
    order = np.random.default_rng(3).permutation(len(shown))
    ids = np.array([shown[i][0] for i in order])
    splits = np.array([shown[i][1] for i in order])
    n = len(ids)
    repeat = np.array([int((ids[:i] == ids[i]).sum()) for i in range(n)])
    test_ids = np.unique(ids[splits == "test"])
    is_test = splits == "test"
    single = np.full(n, -1)
    by_id = np.flatnonzero(is_test)[np.lexsort((np.flatnonzero(is_test), ids[is_test]))]
    single[by_id] = np.arange(len(by_id))
    return TrialTable(
        subject=np.full(n, "subj01"),
        session=np.ones(n),
        run=np.ones(n),
        trial_in_run=np.arange(n) + 1,
        trial_in_session=np.arange(n),
        global_trial=np.arange(n),
        nsd_id=ids,
        coco_id=ids,
        coco_split=np.full(n, "train2017"),
        shared1000=is_test,
        repeat=repeat,
        n_repeats=np.array([(ids == i).sum() for i in ids]),
        beta_path=np.full(n, "betas.hdf5"),
        beta_index=np.arange(n),
        split=splits,
        trial_id_average=np.where(is_test, np.searchsorted(test_ids, ids), -1),
        trial_id_single=single,
    )


def write_brain(folder: Path, source_space: EmbeddingSpace = SOURCE) -> Brain:
    from fmri_lightning.betas.artefact import save_preprocess
    from fmri_lightning.betas.fit import FittedPreprocess, PreprocessConfig
    from fmri_lightning.betas.store import BetaStore
    from fmri_lightning.embeddings.cache import write_cache
    from fmri_lightning.index.table import write_index
    from fmri_lightning.manifest import Manifest, content_hash, write_manifest

    rng = np.random.default_rng(0)
    table = trial_table()
    index = write_index(folder / "index", "subj01", table, {}, {"root": "nsd", "simulated": True})
    split = index.config["split_hash"]
    ids = np.unique(table.nsd_id)
    source = rng.normal(1.0, 2.0, size=(len(ids), N_SOURCE)).astype(np.float32)
    target = (source @ rng.normal(size=(N_SOURCE, N_TARGET))).astype(np.float32)
    clip = write_cache(folder / "clip.parquet", ids, source, source_space)
    target_hash = write_cache(folder / "target.parquet", ids, target, TARGET)

    signal = source[np.searchsorted(ids, table.nsd_id)] @ rng.normal(size=(N_SOURCE, N_VOXELS))
    betas = (signal + rng.normal(size=signal.shape)).astype(np.float32)
    (folder / "betas").mkdir()
    np.save(folder / "betas" / "betas.npy", betas)
    config = {"n_trials": len(table), "n_voxels": N_VOXELS, "subject": "subj01", "simulated": True}
    store = Manifest("betas", content_hash(betas), {"index": index.content_hash, "split": split}, config)
    write_manifest(folder / "betas", store)

    arrays = {
        "columns": np.arange(N_VOXELS, dtype=np.int32),
        "mean": betas.mean(axis=0),
        "scale": betas.std(axis=0),
    }
    preproc = save_preprocess(
        folder / "preproc", FittedPreprocess(arrays, {}, {}), PreprocessConfig(), BetaStore.open(folder / "betas")
    )

    write_maps(folder, {"preproc": preproc.content_hash, "split": split, "clip_cache": clip}, target_hash, source_space)
    return Brain(folder, table)


def write_maps(folder: Path, inputs: dict, target_hash: str, source_space: EmbeddingSpace) -> None:
    """An encoder and an adapter with random weights, as Lightning writes them, hyperparameters and all."""
    from fmri_lightning.adapter.network import AdapterNetwork
    from fmri_lightning.encoder.network import build_predictor
    from fmri_lightning.encoder.stored import describe_state

    def save(path: Path, network: torch.nn.Module, description: dict) -> None:
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        torch.save(
            {
                "state_dict": {f"predictor.{name}": tensor for name, tensor in state.items()},
                "hyper_parameters": {"guidance_scale": 99.0, "num_inference_steps": 77, "n_samples": 5},
                "fmri_lightning": describe_state(description, state),
            },
            path,
        )

    with torch.random.fork_rng():
        torch.manual_seed(5)
        linear = {"kind": "linear", "n_features": N_VOXELS, "n_outputs": N_SOURCE}
        encoder = build_predictor(linear)
        for tensor in encoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(std=0.3)
        adapter = AdapterNetwork(N_SOURCE, N_TARGET)
    common = {"subject": "subj01", "fitted": {}}
    save(
        folder / "ridge.ckpt",
        encoder,
        {
            "kind": "encoder", "name": "ridge", "trial_mode": "average", "space": source_space.to_json(),
            "inputs": inputs, "predictor": linear, **common,
        },
    )  # fmt: skip
    save(
        folder / "adapter.ckpt",
        adapter,
        {
            "kind": "adapter", "name": "adapter", "source_space": source_space.to_json(),
            "target_space": TARGET.to_json(), "inputs": {**inputs, "target_cache": target_hash}, **common,
            "network": {"n_source": N_SOURCE, "n_target": N_TARGET, "layer_norm": True},
        },
    )  # fmt: skip


def write_stimuli(root: Path, table: TrialTable) -> Path:
    """A data root with a picture of noise for every stimulus; its folder of pictures."""
    from PIL import Image

    folder = root / "stimuli"
    folder.mkdir(parents=True)
    for nsd_id in np.unique(table.nsd_id).tolist():
        pixels = np.random.default_rng(nsd_id).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"nsd{nsd_id:05d}.png")
    return folder


def write_tower(folder: Path) -> Path:
    """A tiny image encoder of N_SOURCE dimensions."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=N_SOURCE,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(6)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder
