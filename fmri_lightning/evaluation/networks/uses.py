"""Which network a protocol looks through, at which size and at which node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkUse:
    """One network of a protocol; everything here moves a number.

    Attributes:
        network: Key of :data:`fmri_lightning.evaluation.networks.opening.OPENERS`.
        weights: Which weights: a torchvision name, or "id@revision" of a hub.
        size_px: Side of the pictures that the network sees.
        nodes: Pairs of feature name and node of the network, for instance ("alexnet2", "features.4").
        distances: Names of distances that the network computes by itself, for instance ("lpips",).
    """

    network: str
    weights: str
    size_px: int
    nodes: tuple[tuple[str, str], ...] = ()
    distances: tuple[str, ...] = ()

    def settings(self) -> dict[str, object]:
        """The same in plain types, for summary and manifest."""
        return {
            "weights": self.weights,
            "size_px": self.size_px,
            "nodes": dict(self.nodes),
            "distances": list(self.distances),
        }
