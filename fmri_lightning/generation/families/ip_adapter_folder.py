"""What is known of an IP-Adapter and its Stable Diffusion without loading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.repository import Home, Repository, files_of, space_beside, space_by_name
from fmri_lightning.records import EmbeddingSpace

_READ = ("model_index.json", "*/*.json", "*/*.txt", "unet/*.safetensors", "vae/*.safetensors",
         "text_encoder/*.safetensors")  # fmt: skip
_NEEDED = ("model_index.json", "unet/config.json", "unet/*.safetensors", "vae/config.json", "vae/*.safetensors",
           "text_encoder/*.safetensors")  # fmt: skip
_SECOND_TEXT = ("text_encoder_2/*.safetensors",)
_CHECKER = ("safety_checker/*.safetensors",)
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler")

IP_ADAPTER_ID = "h94/IP-Adapter"
IP_ADAPTER_REVISION = "018e402774aeeddd60609b4ecdb7e298259dc729"
WEIGHT_SPACES = {
    "ip-adapter_sd15.safetensors": "vit-h-14",
    "ip-adapter_sd15_light.safetensors": "vit-h-14",
    "ip-adapter_sdxl_vit-h.safetensors": "vit-h-14",
    "ip-adapter_sdxl.safetensors": "vit-bigg-14",
}
"""Files of h94/IP-Adapter that read one projected embedding, and the space they were trained on."""
PROJECTION = "image_proj.proj.weight"
"""Of the variant that reads one projected embedding; the others read tokens or faces."""


@dataclass(frozen=True)
class _Family:
    """A Stable Diffusion that IP-Adapters exist for."""

    model_id: str
    revision: str
    pipeline: str
    weight_name: str
    read: tuple[str, ...] = ()


_FAMILIES = {
    "sd15": _Family(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "StableDiffusionPipeline",
        "models/ip-adapter_sd15.safetensors",
    ),
    "sdxl": _Family(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "462165984030d82259a11f4367a4eed129e94a7b",
        "StableDiffusionXLPipeline",
        "sdxl_models/ip-adapter_sdxl_vit-h.safetensors",
        _SECOND_TEXT,
    ),
}


def model_name(config: DecoderConfig) -> str:
    """Name the diffusion model of a configuration as it goes into summaries."""
    return config.model_id or _FAMILIES[config.family].model_id


def pipeline_class(config: DecoderConfig) -> str:
    """Name the class of diffusers that loads the family."""
    return _FAMILIES[config.family].pipeline


def base(config: DecoderConfig) -> Repository:
    """Say where the diffusion model lies.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The folder is missing or holds another pipeline, or the id is known to be dead.
    """
    family = _FAMILIES[config.family]
    further = family.read + (_CHECKER if config.safety_checker else ())
    home = Home(family.model_id, family.revision, (family.pipeline,))
    return home.place(config.model_id, config.revision, _READ + further, _NEEDED + further)


def weight_name(config: DecoderConfig) -> str:
    """Name the IP-Adapter's file inside its folder or repository.

    Args:
        config: The decoder.

    Raises:
        UsageError: The file is not safetensors.
    """
    name = config.ip_adapter.weight_name or _FAMILIES[config.family].weight_name
    if not name.endswith(".safetensors"):
        raise UsageError(f"model.decoder.ip_adapter.weight_name {name} is not safetensors; pickles are not read")
    return name


def adapter(config: DecoderConfig) -> Repository:
    """Say where the IP-Adapter lies.

    Args:
        config: The decoder.

    Raises:
        BadInputError: A folder that does not exist.
        UsageError: The file is not safetensors.
    """
    given = config.ip_adapter
    model_id = given.model_id or IP_ADAPTER_ID
    revision = given.revision or (IP_ADAPTER_REVISION if model_id == IP_ADAPTER_ID else None)
    name = weight_name(config)
    return Repository(model_id, revision, (name,), (name,), IP_ADAPTER_ID, "model.decoder.ip_adapter.model_id")


def adapter_file(config: DecoderConfig) -> Path:
    """Put the IP-Adapter's file on this machine, or find it.

    Args:
        config: The decoder.

    Raises:
        BadInputError: It is not there, or the hub does not have it.
    """
    path = adapter(config).fetch() / weight_name(config)
    if not path.is_file():
        raise BadInputError(f"{path} does not exist; set model.decoder.ip_adapter.weight_name to a file of its folder")
    return path


def declared_space(config: DecoderConfig, data: object = None) -> EmbeddingSpace:
    """Read the space of an IP-Adapter from its file's name or header.

    Args:
        config: The decoder.
        data: Ignored; the space is that of the weights.

    Returns:
        The space that its projection was trained on; without probe vectors for weights that are not ours.

    Raises:
        BadInputError: Not found, or a variant that does not read one projected embedding.
    """
    base(config)
    place, name = adapter(config), Path(weight_name(config)).name
    if place.local() is None and place.model_id == IP_ADAPTER_ID and name in WEIGHT_SPACES:
        return space_by_name(WEIGHT_SPACES[name], None)
    path = adapter_file(config)
    dim = _width(path)
    guess = WEIGHT_SPACES.get(name) or {1024: "vit-h-14", 1280: "vit-bigg-14"}.get(dim, "unknown")
    return space_beside(path.parent) or space_by_name(guess, dim)


def _width(path: Path) -> int:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if PROJECTION not in file.keys():  # noqa: SIM118  # the file is no mapping
                raise BadInputError(
                    f"{path} is not the IP-Adapter that reads one projected embedding (no {PROJECTION}); "
                    "plus, full and face variants read tokens, which are not predicted"
                )
            return int(file.get_slice(PROJECTION).get_shape()[1])
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} is not a readable safetensors file: {error}; fetch it again") from error


def hub_files(config: DecoderConfig) -> list[HubFiles]:
    """List what is read of the hub: the diffusion model and the IP-Adapter, as far as they are not in folders.

    Args:
        config: The decoder.

    Raises:
        BadInputError: A folder is missing, or an id is known to be dead.
    """
    found = (base(config).hub_files(), adapter(config).hub_files())
    return [files for files in found if files is not None]


def local_folder(config: DecoderConfig) -> Path | None:
    """Find the folder of the diffusion model, or None; raises as :func:`base` does."""
    return base(config).local()


def weights_fingerprint(config: DecoderConfig, data: object = None) -> str:
    """Identify the weights a run would use: those of the diffusion model and of the IP-Adapter.

    Args:
        config: The decoder.
        data: Ignored.

    Returns:
        For each a hash of the folder's files, or the hub revision, joined by a plus.
    """
    places = (base(config), adapter(config))
    folder, own = places[0].local(), places[1].local()
    model = places[0].fingerprint([] if folder is None else files_of(folder, _PARTS))
    return f"{model}+{places[1].fingerprint([] if own is None else [own / weight_name(config)])}"


def further_fields(config: DecoderConfig) -> dict[str, object]:
    """List further settings that decide the bytes of a picture."""
    place = adapter(config)
    found: dict[str, object] = {
        "decoder.prompt": config.prompt,
        "decoder.ip_adapter": {"model_id": place.model_id, "weight_name": weight_name(config)},
        "decoder.ip_adapter.scale": config.ip_adapter.scale,
    }
    return found | ({"decoder.safety_checker": config.safety_checker} if config.family == "sd15" else {})


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether there are blocks that compiling speeds up: there are."""
    return True


def weights_are_here(config: DecoderConfig) -> bool:
    """Say whether all weights are on this machine, without asking the hub."""
    return base(config).are_here() and adapter(config).are_here()


def weights_bytes(config: DecoderConfig) -> int | None:
    """Add up the weights that are kept in memory, as stored; None for a hub model not looked up yet."""
    folder, own = base(config).local(), adapter(config).local()
    if folder is None or own is None:
        return None
    kept = files_of(folder, ("unet", "vae", "scheduler"))
    return sum(path.stat().st_size for path in [*kept, own / weight_name(config)])
