"""Numbers of the known brain, each with its reason; set once and not to be moved to meet an encoder's score.

Noise follows :data:`fmri_lightning.simulate.recipe.RECIPE`, published figures of NSD; what is stated here is the
signal and the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.recipe import RECIPE


@dataclass(frozen=True)
class KnownRecipe:
    """Constants of the signal and of the embedding.

    Attributes:
        latents: K. A few dozen dimensions of NSD responses repeat across trials and subjects.
        quadratic: Quadratic features. Five times the latents: far more than a network can list by luck, few enough
            that the posterior mean of a thousand pictures takes minutes.
        exponent: Influence of latent i is a variance of i^-exponent. Spectra of visual cortex to natural pictures
            fall about as 1/i (Stringer et al. 2019, doi:10.1038/s41586-019-1346-5).
        nonlinear: Share of each voxel's signal variance that is quadratic. The share of nsdgeneral that is V1 to
            hV4, whose responses follow contrast energy, a quadratic function; spread evenly over voxels because
            voxels here belong to no area.
        dim: Length of CLIP ViT-B/32 embeddings.
        embedding_quadratic: Quadratic share of what the brain can know of the embedding. The latents are the
            directions of the embedding itself, so most of it is linear; not all, since CLIP is no linear readout.
        residual: Share of the embedding's variance that the brain does not carry. What 48 directions leave out of
            CLIP is a guess; it lowers every score alike, the ceilings too.
        mean_cosine: Cosine of an embedding with the mean embedding, about .7 for CLIP ViT-B/32 on photographs.
        norm: Root mean square norm of raw CLIP ViT-B/32 image embeddings, about 10.
    """

    latents: int = 48
    quadratic: int = 240
    exponent: float = 1.0
    nonlinear: float = RECIPE.early_fraction
    dim: int = 512
    embedding_quadratic: float = 0.10
    residual: float = 0.20
    mean_cosine: float = 0.70
    norm: float = 10.0

    def __post_init__(self) -> None:
        shares = {n: getattr(self, n) for n in ("nonlinear", "embedding_quadratic", "residual", "mean_cosine")}
        wrong = [name for name, share in shares.items() if not 0 <= share < 1]
        if wrong or self.latents < 1 or self.quadratic < 0 or self.dim < 1 or self.norm <= 0:
            raise BadInputError(
                f"known brain: {', '.join(wrong) or 'a size'} is out of range in {self}; shares lie in 0 to 1, "
                "latents, dim and norm are above 0"
            )
        if self.quadratic == 0 and (self.nonlinear > 0 or self.embedding_quadratic > 0):
            raise BadInputError(
                "known brain: nonlinear and embedding_quadratic must be 0 when there are no quadratic features"
            )


KNOWN_RECIPE = KnownRecipe()
