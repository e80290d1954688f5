"""Decoder families: what turns an embedding into a picture, and which embedding space each one reads."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.records import EmbeddingSpace

if TYPE_CHECKING:
    from fmri_lightning.generation.data import ReconstructionDataModule

Family = Literal["unclip", "sd15", "sdxl", "kandinsky", "mini", "text_null", "nearest_neighbour", "none"]
RETRIEVAL: Family = "nearest_neighbour"
"""The family that draws nothing."""
MemoryPreset = Literal["default", "low"]
"""How a decoder uses memory: as fast as it can, or in slices."""


@dataclass(frozen=True)
class IPAdapterConfig:
    """Which IP-Adapter shows the embedding to Stable Diffusion; families sd15 and sdxl.

    Attributes:
        model_id: Hub id or local folder; by default h94/IP-Adapter.
        revision: Hub commit; null takes the pinned one of h94/IP-Adapter, or of another repository the main branch.
        weight_name: Its safetensors file, of the kind that reads one projected embedding; by default
            models/ip-adapter_sd15.safetensors or sdxl_models/ip-adapter_sdxl_vit-h.safetensors, as the family is.
        scale: Weight of the embedding beside the prompt; 0 leaves it out.
    """

    model_id: str | None = None
    revision: str | None = None
    weight_name: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class DecoderConfig:
    """Which decoder draws the pictures.

    Attributes:
        family: unclip (Stable Diffusion 2.1 unCLIP), sd15 or sdxl (Stable Diffusion 1.5 or XL with an IP-Adapter),
            kandinsky (Kandinsky 2.2), mini (the model shipped with this package), text_null (Stable Diffusion 2.1
            told a text and no embedding: a labelled null), nearest_neighbour (retrieval: the training stimulus
            whose embedding is nearest), or none (stop at predictions.parquet).
        model_id: Hub id or local folder of the family's weights; by default the family's own.
        revision: Hub commit; null takes the hub's main branch and records which commit that was.
        resolution: Side of the pictures in pixels; null takes the size the model was trained at, or that of the
            stimuli.
        lora: Folder that fit --config configs/lora.yaml wrote; null draws with the weights as they are.
        ip_adapter: Which IP-Adapter, of families sd15 and sdxl.
        prompt: Text beside the embedding, of the families with an IP-Adapter, null being the empty prompt; of family
            text_null all that is told, null being "a photograph".
        prior: Hub id or local folder whose image_encoder/ embeds the empty picture, which family kandinsky tells the
            unconditional half; null takes kandinsky-community/kandinsky-2-2-prior (7 GB are read, once a run, unless
            the decoder's folder holds negative_embedding.safetensors).
        prior_revision: Hub commit of prior; null takes the pinned one of the default, or of another the main branch.
        safety_checker: Let the checker of Stable Diffusion 1.5 hold pictures back (family sd15); each is then a listed
            failure, never a black picture.
    """

    family: Family = "unclip"
    model_id: str | None = None
    revision: str | None = None
    resolution: int | None = None
    lora: str | None = None
    ip_adapter: IPAdapterConfig = IPAdapterConfig()
    prompt: str | None = None
    prior: str | None = None
    prior_revision: str | None = None
    safety_checker: bool = False


@dataclass(frozen=True)
class Drawn:
    """Pictures of one batch.

    Attributes:
        images: uint8 (batch, height, width, 3) on the CPU.
        finite: bool (batch,); False where latents or pixels were NaN or infinite, and the picture means nothing.
        held_back: bool (batch,); True where a safety checker objects, and the picture is not kept. None without one.
    """

    images: Tensor
    finite: Tensor
    held_back: Tensor | None = None


@dataclass(frozen=True)
class Steering:
    """What steers the pictures of a batch beside their embeddings.

    Attributes:
        noise_levels: int64 (batch,), 0..999, how unreliable each embedding is; None takes the options' level for all.
        start: uint8 (batch, height, width, 3) pictures whose layout is kept, of any size; None starts from noise.
    """

    noise_levels: Tensor | None = None
    start: Tensor | None = None


ALONE = Steering()
"""Embeddings steer alone."""


class Decoder(Protocol):
    """What every family offers.

    Attributes:
        space: Embedding space the decoder was trained on; None where it is told no embedding.
        resolution: Side of its pictures in pixels.
    """

    space: EmbeddingSpace | None
    resolution: int

    def draw(
        self,
        embeddings: Tensor,
        seeds: list[int],
        options: SamplingOptions,
        unconditional: bool = False,
        steering: Steering = ALONE,
    ) -> Drawn:
        """Draw one picture per embedding.

        Args:
            embeddings: Raw embeddings (batch, dim) float32.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Replace the condition by that of the unconditional pass.
            steering: Noise level and start of each picture.

        Returns:
            The pictures.
        """

    def generate(self, embeddings: Tensor, seeds: list[int], options: SamplingOptions) -> Tensor:
        """Draw pictures as uint8 (batch, height, width, 3)."""

    def halves(self) -> list[torch.nn.Module]:
        """List the frozen parts that may run in half precision."""

    def prepare(self, memory: MemoryPreset, compiled: bool) -> None:
        """Arrange memory and kernels, once the parts lie on their device in their precision.

        Args:
            memory: "low" trades speed for memory.
            compiled: Compile the repeated blocks.
        """


@dataclass(frozen=True)
class _FamilyModules:
    """Where a family is written, and what it takes beside embeddings.

    Attributes:
        files: Module with ``declared_space``, ``model_name``, ``weights_fingerprint``, ``further_fields``,
            ``has_transformer_blocks`` and, where there are weights, ``hub_files``, ``local_folder``, ``weights_bytes``
            and ``weights_are_here``: what is known of them without loading.
        loader: "module:function" that loads them.
        takes: Of noise_level and start, what steers its pictures.
        null: Why its pictures show nothing of a brain, or "".
    """

    files: str
    loader: str
    takes: frozenset[str] = frozenset()
    null: str = ""


_ROOM = "fmri_lightning.generation.families"
_UNCLIP = _FamilyModules(f"{_ROOM}.unclip_folder", f"{_ROOM}.unclip:load_unclip", frozenset({"noise_level", "start"}))
_IP_ADAPTER = _FamilyModules(f"{_ROOM}.ip_adapter_folder", f"{_ROOM}.ip_adapter:load_ip_adapter", frozenset({"start"}))
_KANDINSKY = _FamilyModules(f"{_ROOM}.kandinsky_folder", f"{_ROOM}.kandinsky:load_kandinsky")
_TEXT_NULL = _FamilyModules(
    f"{_ROOM}.text_null_folder", f"{_ROOM}.text_null:load_text_null", null="text only, the embedding is not used"
)
_RETRIEVAL = _FamilyModules(f"{_ROOM}.retrieval", f"{_ROOM}.retrieval:load_retrieval")
FAMILIES = {
    "unclip": _UNCLIP,
    "sd15": _IP_ADAPTER,
    "sdxl": _IP_ADAPTER,
    "kandinsky": _KANDINSKY,
    "mini": _UNCLIP,
    "text_null": _TEXT_NULL,
    RETRIEVAL: _RETRIEVAL,
}
_OPTIONS: dict[str, tuple[Family, ...]] = {
    "prompt": ("sd15", "sdxl", "text_null"),
    "prior": ("kandinsky",),
    "prior_revision": ("kandinsky",),
    "safety_checker": ("sd15",),
}
"""Settings of :class:`DecoderConfig` that only these families read."""


def takes(config: DecoderConfig, what: Literal["noise_level", "start"]) -> bool:
    """Say whether a noise level, or a picture to start from, steers what a decoder draws.

    Args:
        config: The decoder.
        what: Which of the two.

    Returns:
        False also for family "none".
    """
    return config.family != "none" and what in _modules(config).takes


def draws_from_embeddings(config: DecoderConfig) -> bool:
    """Say whether a decoder draws pictures, and the embedding decides what they show.

    Args:
        config: The decoder.

    Returns:
        False for retrieval, for a null and for family "none".
    """
    return config.family not in ("none", RETRIEVAL) and not null_note(config)


def null_note(config: DecoderConfig) -> str:
    """Say why a decoder's pictures show nothing of a brain: such scores are a null, and labelled so everywhere.

    Args:
        config: The decoder.

    Returns:
        The reason, or "" for a decoder that is told embeddings.
    """
    return "" if config.family == "none" else _modules(config).null


def notices(config: DecoderConfig) -> list[str]:
    """List what the log of a run says of its decoder, because it was chosen by leaving it at its default.

    Args:
        config: The decoder.

    Returns:
        Lines.
    """
    found = []
    if config.family == "sd15" and not config.safety_checker:
        found.append("safety checker of Stable Diffusion 1.x: off (model.decoder.safety_checker)")
    if null_note(config):
        found.append(f"family {config.family} is a null: {null_note(config)}")
    return found


def decoder_space(config: DecoderConfig, data: ReconstructionDataModule | None = None) -> EmbeddingSpace | None:
    """Read which space a decoder needs, without loading its weights.

    Args:
        config: The decoder.
        data: The run's data, which family "nearest_neighbour" draws from.

    Returns:
        Its space, or None for family "none" and for a decoder that is told no embedding.

    Raises:
        UsageError: Unknown family, a setting of another family, or data that it needs is not named.
        BadInputError: The weights' folder or hub id cannot be found.
    """
    if config.family == "none":
        return None
    for option, families in _OPTIONS.items():
        if getattr(config, option) not in (None, False) and config.family not in families:
            raise UsageError(
                f"only family {' or '.join(families)} reads model.decoder.{option}, not {config.family}; leave it out"
            )
    space: EmbeddingSpace | None = family_files(config).declared_space(config, data)
    return space


def family_files(config: DecoderConfig) -> Any:
    """Find the module that knows a family's weights without loading them; see :class:`_FamilyModules`.

    Args:
        config: The decoder, of any family but "none".

    Returns:
        The module.

    Raises:
        UsageError: Unknown family.
    """
    return importlib.import_module(_modules(config).files)


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether a decoder has blocks that compiling speeds up.

    Args:
        config: The decoder.

    Returns:
        False for families without a network of that kind.
    """
    return config.family != "none" and bool(family_files(config).has_transformer_blocks(config))


def load_decoder(config: DecoderConfig, data: ReconstructionDataModule | None = None) -> torch.nn.Module:
    """Load the frozen decoder of a configuration.

    Args:
        config: The decoder.
        data: The run's data, which family "nearest_neighbour" draws from.

    Returns:
        A module that satisfies :class:`Decoder`, in float32 on the CPU, in evaluation mode.

    Raises:
        UsageError: Unknown family.
        BadInputError: The weights cannot be loaded.
    """
    module, name = _modules(config).loader.split(":")
    decoder: torch.nn.Module = getattr(importlib.import_module(module), name)(config, data)
    return decoder.eval().requires_grad_(False)


def _modules(config: DecoderConfig) -> _FamilyModules:
    if config.family not in FAMILIES:
        raise UsageError(f"unknown decoder family {config.family!r}; known: {', '.join([*FAMILIES, 'none'])}")
    return FAMILIES[config.family]
