"""Latents of an autoencoder, in the cache and behind the interface of the image encoder."""

import numpy as np
import pytest
import torch

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.command import clip_cache
from fmri_lightning.embeddings.image_encoder import ImageEncoder, probe_pictures
from fmri_lightning.embeddings.latent_encoder import LatentEncoder
from fmri_lightning.embeddings.spaces import SPACES, resolve_space
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import require_same_space


def save_tiny_autoencoder(folder, seed=0):
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=3,
            norm_num_groups=4,
            sample_size=16,
            scaling_factor=0.5,
        )
    vae.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_autoencoder(tmp_path_factory.mktemp("vae") / "tiny-vae")


@pytest.fixture(scope="module")
def encoder(folder):
    return LatentEncoder.from_space(str(folder))


def test_a_vector_is_the_scaled_mode_channel_first(encoder, folder, pictures):
    from diffusers import AutoencoderKL
    from diffusers.image_processor import VaeImageProcessor
    from PIL import Image

    small = [Image.fromarray(p).resize((21, 16), Image.Resampling.BICUBIC).crop((2, 0, 18, 16)) for p in pictures]
    pixels = VaeImageProcessor(vae_scale_factor=2).preprocess(small)
    vae = AutoencoderKL.from_pretrained(folder)
    with torch.inference_mode():
        expected = (vae.encode(pixels).latent_dist.mode() * 0.5).reshape(len(pictures), -1)
        found = encoder(torch.from_numpy(pictures))
    assert found.shape == (len(pictures), 3 * 8 * 8) == (len(pictures), encoder.dim)
    # Pillow and ours round a few bytes of the resized picture apart.
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_decoding_is_that_of_the_stock_autoencoder(encoder, folder):
    from diffusers import AutoencoderKL
    from diffusers.image_processor import VaeImageProcessor

    latents = torch.randn(3, encoder.dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pixels = AutoencoderKL.from_pretrained(folder).decode(latents.reshape(3, 3, 8, 8) / 0.5).sample
        found = encoder.decode(latents)
    expected = VaeImageProcessor().postprocess(pixels, output_type="np")
    assert found.dtype == torch.uint8
    assert np.abs(found.numpy() - (expected * 255)).max() <= 0.51


def test_a_picture_does_not_depend_on_its_batch(encoder, pictures):
    assert encoder.vae.use_slicing, "kernels of large models round by batch shape; those of this one may not"
    with torch.inference_mode():
        together = encoder(torch.from_numpy(pictures))
        alone = torch.cat([encoder(torch.from_numpy(pictures[i : i + 1])) for i in range(len(pictures))])
        assert torch.equal(together, alone)
        assert torch.equal(encoder.decode(together), torch.cat([encoder.decode(v[None]) for v in alone]))


def test_the_space_says_that_it_holds_latents(encoder):
    space = encoder.space
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(probe_pictures()))
    np.testing.assert_allclose(space.probe, expected, rtol=1e-5, atol=1e-6)
    assert (space.pooling, space.scale, space.dim, space.holds_latents) == ("latents", "raw", 192, True)
    assert len(space.weights_hash) == 64


def test_the_cache_holds_row_i_for_stimulus_i(picture_folder, folder, tmp_path, source, encoder):
    out = tmp_path / "latents.parquet"
    clip_cache(images=picture_folder, space=str(folder), out=out, devices="1", batch_size=4)
    cache = EmbeddingCache.open(out)
    with torch.inference_mode():
        alone = torch.cat([encoder(torch.from_numpy(source.read(source.ids[i : i + 1]))) for i in range(11)])
    np.testing.assert_array_equal(cache.rows(source.ids), alone)
    assert cache.space.holds_latents
    assert cache.space.weights_hash == encoder.space.weights_hash


def test_the_autoencoder_of_a_space_is_found_again_and_another_refused(encoder, folder, tmp_path):
    import dataclasses

    assert LatentEncoder.of(encoder.space).dim == encoder.dim
    other = save_tiny_autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(BadInputError, match="probe pictures differ"):
        LatentEncoder.of(dataclasses.replace(encoder.space, model_id=str(other)))
    with pytest.raises(BadInputError, match="put its folder back"):
        LatentEncoder.of(dataclasses.replace(encoder.space, model_id=str(tmp_path / "gone")))


def test_the_packaged_autoencoder_gives_as_many_numbers_as_said():
    encoder = LatentEncoder.from_space("mini-vae")
    assert encoder.dim == SPACES["mini-vae"].dim == 1024
    assert encoder.preprocessing.crop_px == 64
    assert SPACES["sd-vae"].dim == 4 * 32 * 32


def test_sd_vae_is_read_as_two_files_of_a_pinned_commit():
    files = SPACES["sd-vae"].hub_files()
    assert files.allow == ("config.json", "diffusion_pytorch_model.safetensors")
    assert (
        SPACES["sd-vae"]
        .download_command()
        .startswith("hf download stabilityai/sd-vae-ft-mse --revision 31f26fdeee1355a5c34592e401dd41e45d25a493")
    )


def test_each_kind_is_refused_where_the_other_is_meant(encoder, folder, tiny_tower):
    tower = ImageEncoder.from_space(str(tiny_tower))
    assert resolve_space(str(folder)).kind == "latents"
    assert resolve_space(str(tiny_tower)).kind == "embeddings"
    with pytest.raises(BadInputError, match="'tiny-vae' is one of latents"):
        ImageEncoder.from_space(str(folder))
    with pytest.raises(BadInputError, match="'tiny' is one of embeddings"):
        LatentEncoder.from_space(str(tiny_tower))
    # Of equal length, as mini-vae and mini-target are: only their kind tells them apart.
    import dataclasses

    as_long = dataclasses.replace(encoder.space, dim=tower.dim, probe=None)
    for a, b in ((as_long, tower.space), (tower.space, as_long)):
        with pytest.raises(BadInputError, match="holds latents of the autoencoder 'tiny-vae', embeddings are meant"):
            require_same_space(a, b, "one", "the other")
    require_same_space(as_long, as_long, "one", "the other")


def test_a_folder_that_lacks_weights_is_refused(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    torn = tmp_path / "torn"
    shutil.copytree(folder, torn)
    file = torn / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["decoder.conv_in.weight"]
    save_file(weights, file)
    with pytest.raises(BadInputError, match="lacks 1 weights of an AutoencoderKL"):
        LatentEncoder.from_space(str(torn))
    file.unlink()
    with pytest.raises(BadInputError, match="not a readable AutoencoderKL"):
        LatentEncoder.from_space(str(torn))
