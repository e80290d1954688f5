"""Named protocols: what is resized to what, through which networks, and which test set the name stands for.

A protocol fixes everything that moves a number. The choices are data here, so that every table can
print them beside its numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from fmri_lightning.errors import UsageError
from fmri_lightning.evaluation.networks.uses import NetworkUse
from fmri_lightning.evaluation.resizing import Filter, Resize

SSIM_DEFINITIONS = {
    "image": "grey .2125/.7154/.0721, Gaussian sigma 1.5 px, 11 taps, population covariance, 5 px cropped",
    "columns": "the same in one dimension down every column: multichannel=True on grey pictures in scikit-image 0.17",
}
ANCHORS = {
    "reconstruction": "reconstruction (distractors are the other ground truths), as coded by MindEye",
    "original": "original (distractors are the other reconstructions), as coded by Takagi & Nishimoto",
}


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes:
        name: As given to ``--protocol``.
        what: One line for the reader.
        picture_metrics: Metrics that the protocol's name stands for, in the order of the table.
        further_metrics: Metrics that are scored beside them.
        headline: The metric that the ladder is read from.
        fallback_headline: What takes its place where the headline's network cannot be had.
        pixel_steps: How pictures are resized for the metrics of pixels.
        network_steps: How pictures are resized before each network's own size.
        network_filter: The filter of that last step.
        networks: Networks that pictures are seen through.
        ssim: Key of :data:`SSIM_DEFINITIONS`.
        anchor: Key of :data:`ANCHORS`: whose distractors identification draws.
        test_set: Numbers of test stimuli that the protocol's name stands for; None for any.
    """

    name: str
    what: str
    picture_metrics: tuple[str, ...]
    headline: str
    pixel_steps: tuple[Resize, ...]
    network_steps: tuple[Resize, ...]
    network_filter: Filter
    networks: tuple[NetworkUse, ...] = ()
    further_metrics: tuple[str, ...] = ()
    fallback_headline: str = "pixcorr"
    ssim: Literal["image", "columns"] = "image"
    anchor: Literal["reconstruction", "original"] = "reconstruction"
    test_set: tuple[int, ...] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric of pictures, those of the name first."""
        return self.picture_metrics + self.further_metrics

    def settings(self) -> dict[str, object]:
        """Everything that moves a number, in plain types for summary and manifest."""
        return {
            "name": self.name,
            "pixel_steps": [str(step) for step in self.pixel_steps],
            "network_steps": [str(step) for step in self.network_steps],
            "network_filter": self.network_filter,
            "networks": {use.network: use.settings() for use in self.networks},
            "ssim": SSIM_DEFINITIONS[self.ssim],
            "anchor": ANCHORS[self.anchor],
            "test_set": None if self.test_set is None else list(self.test_set),
        }

    def qualifications(
        self,
        n_stimuli: int,
        n_items: int,
        n_test_set: int | None,
        simulated: bool | None,
        missing: Collection[str] = (),
        trial_mode: str | None = None,
        validation: bool = False,
        null_decoder: bool = False,
        prediction_only: str | None = None,
    ) -> list[str]:
        """List why scores are less than the protocol's name promises; nothing where they are it.

        Args:
            n_stimuli: Different stimuli scored.
            n_items: Pictures scored; more than stimuli where single trials were drawn.
            n_test_set: Items of the run's full test set, None where unknown.
            simulated: Whether the brain is simulated, None where unknown.
            missing: Metrics of the name that were not computed.
            trial_mode: How repeats were combined, None where unknown.
            validation: Whether the stimuli are of the validation split, by which settings are chosen.
            null_decoder: Whether the pictures were drawn without an embedding.
            prediction_only: Experiment whose stimuli these are, where they are not NSD's own test pictures.

        Returns:
            For instance ``["partial 16/1000", "metrics missing"]``.
        """
        found = ["null decoder"] if null_decoder else []
        found += ["validation stimuli"] if validation else []
        found += [f"stimuli of {prediction_only}"] if prediction_only else []
        if self.test_set is None:
            whole = n_test_set is None or n_items >= n_test_set
            return found if whole else [*found, f"{n_items} of {n_test_set}"]
        if n_stimuli not in self.test_set and not prediction_only:
            found.append(f"partial {n_stimuli}/{max(self.test_set)}")
        if simulated:
            found.append("simulated brain")
        if trial_mode == "single":
            found.append("single trials")
        if set(missing) & set(self.picture_metrics):
            found.append("metrics missing")
        return [*found, "not comparable"] if found else []

    def title(self, qualifications: list[str]) -> str:
        """The protocol's name, qualified where the name alone would promise too much."""
        return ", ".join([self.name, *qualifications])


_STEPS_OF_MINDEYE = (Resize(256, "bilinear"),)
_PUBLISHED = (
    "pixcorr",
    "ssim",
    "alexnet2_two_way",
    "alexnet5_two_way",
    "inception_two_way",
    "clip_two_way",
    "efficientnet_b1_distance",
    "swav_distance",
)
_CLIP = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
_ALEXNET_NODES = (("alexnet2", "features.4"), ("alexnet5", "features.11"))

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="demo",
            what="64 px pictures of the mini models; the judge network stands in for AlexNet",
            picture_metrics=(
                "pixcorr",
                "ssim",
                "pixcorr_two_way",
                "judge2_two_way",
                "judge5_two_way",
                "judge_distance",
            ),
            further_metrics=("mse", "psnr"),
            headline="judge2_two_way",
            fallback_headline="pixcorr_two_way",
            pixel_steps=(Resize(64, "bilinear_antialias"),),
            network_steps=(Resize(64, "bilinear_antialias"),),
            network_filter="bilinear_antialias",
            networks=(
                NetworkUse(
                    "judge", "vST0.0", 128, nodes=(("judge2", "1"), ("judge5", "4")), distances=("judge_distance",)
                ),
            ),
        ),
        Protocol(
            name="mindeye",
            what="MindEye 1 and 2 (Scotti et al., 2023, 2024): tensors of 256 px, resized without antialiasing",
            picture_metrics=_PUBLISHED,
            further_metrics=("lpips", "clip_cosine", "mse", "psnr"),
            headline="alexnet5_two_way",
            # Their torchvision (0.15 and 0.16) resized tensors without antialiasing.
            pixel_steps=(*_STEPS_OF_MINDEYE, Resize(425, "bilinear")),
            network_steps=_STEPS_OF_MINDEYE,
            network_filter="bilinear",
            networks=(
                NetworkUse("alexnet", "IMAGENET1K_V1", 256, nodes=_ALEXNET_NODES),
                NetworkUse("inception_v3", "IMAGENET1K_V1", 342, nodes=(("inception", "avgpool"),)),
                NetworkUse("clip", _CLIP, 224, nodes=(("clip", "image_embeds"),)),
                NetworkUse("efficientnet_b1", "IMAGENET1K_V2", 255, nodes=(("efficientnet_b1", "avgpool"),)),
                NetworkUse("swav", "swav_800ep_pretrain", 224, nodes=(("swav", "avgpool"),)),
                NetworkUse("lpips", "alex 0.1", 256, distances=("lpips",)),
            ),
            test_set=(982, 1000),
        ),
        Protocol(
            name="brain_diffuser",
            what="Brain-Diffuser (Ozcelik & VanRullen, 2023): 8-bit pictures resized by Pillow",
            picture_metrics=_PUBLISHED,
            further_metrics=("lpips", "clip_cosine", "mse", "psnr"),
            headline="alexnet5_two_way",
            pixel_steps=(Resize(425, "pil_bicubic"),),
            network_steps=(),
            network_filter="pil_bilinear",
            networks=(
                NetworkUse("alexnet", "IMAGENET1K_V1", 224, nodes=_ALEXNET_NODES),
                NetworkUse("inception_v3", "IMAGENET1K_V1", 224, nodes=(("inception", "avgpool"),)),
                NetworkUse("clip", _CLIP, 224, nodes=(("clip", "image_embeds"),)),
                # Its script asks for weights=True, which torchvision reads as the first set.
                NetworkUse("efficientnet_b1", "IMAGENET1K_V1", 224, nodes=(("efficientnet_b1", "avgpool"),)),
                NetworkUse("swav", "swav_800ep_pretrain", 224, nodes=(("swav", "avgpool"),)),
                NetworkUse("lpips", "alex 0.1", 256, distances=("lpips",)),
            ),
            ssim="columns",
            test_set=(982,),
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Look a protocol up.

    Args:
        name: As given to ``--protocol``.

    Returns:
        The protocol.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
