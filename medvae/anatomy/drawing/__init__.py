"""Drawing synthetic subjects: public people in released poses, at any resolution."""

from medvae.anatomy.drawing.pose import OutputGrid, Pose
from medvae.anatomy.drawing.renderer import Renderer

__all__ = ["OutputGrid", "Pose", "Renderer"]
