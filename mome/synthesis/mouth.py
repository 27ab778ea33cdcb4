"""A drawn mouth: lips, teeth and tongue, from ten controls.

Lengths are in units of 1/224 of the image's side. x goes right, y goes down.

Shape key
    H W  pixels of a patch around the mouth, FINER times finer than the image
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

FINER = 3  # pixels of the patch, across and down, in a pixel of the image
SUBPIXEL_BITS = 3  # binary digits after the point of a polygon's coordinates
OPENING = 17.0  # distance of wide open lips
DROP = 9.0  # how far the chin goes down with the jaw
SHADOW = 3.0  # width of the edge of the shadow under lips that are pushed forward
MARGIN, SHADOW_MARGIN = 3, 10  # units around the lips that soft edges, or the shadow, reach

DARK = np.array([34, 12, 14], np.float32)  # inside the mouth
TONGUE = np.array([186, 88, 90], np.float32)
TONGUE_BACK = np.array([138, 56, 60], np.float32)


class Mouth(NamedTuple):
    """Controls of a mouth, from 0 to 1; `wide` from -1 (pursed) to 1 (spread)."""

    jaw: float = 0.0  # lowered
    open: float = 0.0  # distance between the lips
    wide: float = 0.0
    round: float = 0.0  # lips pushed forward
    press: float = 0.0  # lips pressed on each other
    tuck: float = 0.0  # lower lip under the upper teeth
    upper: float = 0.0  # upper teeth seen
    lower: float = 0.0  # lower teeth seen
    tip: float = 0.0  # of the tongue: 0.5 behind the teeth, 1 between them
    back: float = 0.0  # of the tongue: raised


@dataclass(frozen=True)
class MouthLook:
    """A speaker's mouth: lengths, and colours in RGB."""

    width: float  # half of it
    upper_lip: float  # thickness
    lower_lip: float
    lip: np.ndarray
    teeth: np.ndarray
    tooth: float  # width of a tooth


@cache
def spline_matrix(num_points: int, closed: bool, steps: int = 10) -> np.ndarray:
    """Catmull-Rom spline: curve = matrix (steps * segments, num_points) @ points."""
    t = np.linspace(0, 1, steps, endpoint=False)
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1
    )
    segments = num_points if closed else num_points - 1
    matrix = np.zeros((segments * steps, num_points))
    for i in range(segments):
        for j in range(4):
            k = i - 1 + j
            k = k % num_points if closed else min(max(k, 0), num_points - 1)
            matrix[i * steps : (i + 1) * steps, k] += basis[:, j]
    if not closed:
        matrix = np.vstack([matrix, np.eye(num_points)[-1]])
    return matrix


def spline(points, closed: bool = False) -> np.ndarray:
    """A smooth curve through points (N, 2)."""
    points = np.asarray(points, float)
    return spline_matrix(len(points), closed) @ points


class Patch:
    """A piece of the image with its corner at (left, top), in finer pixels, to draw on."""

    def __init__(self, left: int, top: int, planes: list[np.ndarray]):
        self.left, self.top, self.planes = left, top, planes  # R, G, B
        self.shape = planes[0].shape
        self.y_H1 = ((np.arange(self.shape[0], dtype=np.float32) + 0.5) / FINER + top)[:, None]
        self.x_1W = ((np.arange(self.shape[1], dtype=np.float32) + 0.5) / FINER + left)[None]

    @classmethod
    def around(cls, points: np.ndarray, margin: int, colour: np.ndarray) -> "Patch":
        """A patch of one colour that holds the points (N, 2) and `margin` units around them."""
        left, top = np.floor(points.min(axis=0)).astype(int) - margin
        right, bottom = np.ceil(points.max(axis=0)).astype(int) + margin
        shape = (FINER * (bottom - top), FINER * (right - left))
        return cls(int(left), int(top), [np.full(shape, level, np.float32) for level in colour])

    def part(self, points: np.ndarray) -> "Patch":
        """The part of this patch that holds the points (N, 2) and MARGIN units around them.

        What is drawn on the part is drawn on the patch.
        """
        corner = np.array([self.left, self.top])
        low = np.maximum(np.floor(points.min(axis=0)).astype(int) - MARGIN - corner, 0)
        high = np.maximum(np.ceil(points.max(axis=0)).astype(int) + MARGIN - corner, low + 1)
        rows, columns = (slice(FINER * low[k], FINER * high[k]) for k in (1, 0))
        left, top = (corner + low).tolist()
        return Patch(left, top, [plane[rows, columns] for plane in self.planes])

    def polygon(self, points: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Mask (H, W) of a polygon, from 0 to 1; its edge is blurred over `soft` units."""
        mask: np.ndarray = np.zeros(self.shape, np.uint8)
        points = (points - (self.left, self.top)) * FINER - 0.5
        points = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        if soft:
            mask = cv2.GaussianBlur(mask, (0, 0), soft * FINER)
        return mask.astype(np.float32) / 255

    def ellipse(
        self, x: float, y: float, x_radius: float, y_radius: float, soft: float
    ) -> np.ndarray:
        """Mask (H, W) of an ellipse."""
        angles = np.linspace(0, 2 * np.pi, 40)
        points = np.stack([x + x_radius * np.cos(angles), y + y_radius * np.sin(angles)], 1)
        return self.polygon(points, soft)

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Blend a colour in, with the mask as its opacity."""
        # Plane by plane, because contiguous memory is faster.
        for plane, level in zip(self.planes, colour, strict=True):
            plane += mask * (np.float32(level) - plane)


@dataclass(frozen=True)
class Lips:
    """Where the lips are."""

    top: float  # y of the inner edges, in the middle
    bottom: float
    corner: float  # y of both corners
    width: float  # half of it, outside
    inner_width: float  # half of it, inside
    upper: float  # thickness
    lower: float

    @property
    def gap(self) -> float:
        """Distance between the lips."""
        return self.bottom - self.top


def place_lips(look: MouthLook, mouth: Mouth, y: float) -> Lips:
    """The lips of a mouth whose middle is at height `y`."""
    spread, pursed = max(mouth.wide, 0), max(-mouth.wide, 0)
    width = look.width * (1 + 0.22 * spread - 0.26 * pursed - 0.1 * mouth.round - 0.06 * mouth.jaw)
    gap, drop = OPENING * mouth.open, DROP * mouth.jaw
    top = y - 0.28 * gap + 0.2 * drop
    bottom = y + 0.72 * gap + (0.45 * drop if mouth.open > 0.02 else 0) + 1.3 * mouth.tuck
    bottom = max(bottom, top)
    thicker = (1 + 0.4 * mouth.round) * (1 - 0.12 * spread)
    return Lips(
        top=top,
        bottom=bottom,
        corner=y + 0.35 * (bottom - top) + 0.15 * drop,
        width=width,
        inner_width=width * (0.94 - 0.22 * mouth.round),
        upper=look.upper_lip * thicker * (1 - 0.55 * mouth.press),
        lower=look.lower_lip * thicker * (1 - 0.5 * mouth.press) * (1 - 0.65 * mouth.tuck),
    )


def draw(
    image: np.ndarray, look: MouthLook, mouth: Mouth, x: float, y: float, skin: np.ndarray
) -> None:
    """Draw a mouth with its middle at (x, y) into an image (224, 224, 3), uint8, in place."""
    lips = place_lips(look, mouth, y)
    outer, upper_edge, lower_edge = edges(lips, x)
    has_shadow = mouth.round > 0.1  # lips that are pushed forward throw one
    patch = Patch.around(outer, SHADOW_MARGIN if has_shadow else MARGIN, look.lip)
    lip_mask = patch.polygon(outer, soft=0.5)
    alpha = lip_mask
    if has_shadow:
        shadow = blur_coarsely(lip_mask, SHADOW)
        patch.paint(np.ones_like(shadow), skin * 0.5)
        alpha = np.maximum(lip_mask, shadow * 0.55 * mouth.round)
    patch.paint(lip_mask, look.lip)
    shade_lips(patch, look, mouth, lips, lip_mask, x)
    if lips.gap > 0.8:
        outline = np.concatenate([upper_edge, lower_edge[::-1]])
        patch_inside = patch.part(outline)
        inside = patch_inside.polygon(outline, soft=0.25)
        draw_inside(patch_inside, look, mouth, lips, inside, x)
    else:
        thick = np.array([0, 0.5 + 0.4 * mouth.press])
        line = np.concatenate([upper_edge, (lower_edge + thick)[::-1]])
        patch_line = patch.part(line)
        patch_line.paint(0.85 * patch_line.polygon(line, soft=0.3), look.lip * 0.35)
    lay(image, patch, alpha)


def edges(lips: Lips, x: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outline of both lips; inner edge of the upper lip and of the lower lip, left to right."""
    corner, w = lips.corner, lips.inner_width

    def curve(*points: tuple[float, float]) -> np.ndarray:
        return spline([[x + dx, y] for dx, y in points])

    shoulder = lips.top + 0.25 * (corner - lips.top)
    upper = curve((-w, corner), (-0.53 * w, shoulder), (0, lips.top + 0.4), (0.53 * w, shoulder),
                  (w, corner))  # fmt: skip
    shoulder = lips.bottom - 0.22 * (lips.bottom - corner)
    lower = curve((-w, corner), (-0.53 * w, shoulder), (0, lips.bottom), (0.53 * w, shoulder),
                  (w, corner))  # fmt: skip
    w, peak, side = lips.width, lips.top - 1.12 * lips.upper, lips.top - 0.72 * lips.upper
    outer_upper = curve(
        (-w, corner), (-0.55 * w, side), (-0.16 * w, peak), (0, lips.top - 0.88 * lips.upper),
        (0.16 * w, peak), (0.55 * w, side), (w, corner),
    )  # fmt: skip
    side, lowest = lips.bottom + 0.72 * lips.lower, lips.bottom + 1.1 * lips.lower
    outer_lower = curve((-w, corner), (-0.55 * w, side), (0, lowest), (0.55 * w, side), (w, corner))
    return np.concatenate([outer_upper, outer_lower[::-1]]), upper, lower


def shade_lips(
    patch: Patch, look: MouthLook, mouth: Mouth, lips: Lips, lip_mask: np.ndarray, x: float
) -> None:
    """Paint light on the lower lip, more on lips pushed forward, and shade on the upper lip."""
    light = np.exp(
        -(((patch.y_H1 - lips.bottom - 0.45 * lips.lower) / (0.28 * lips.lower + 0.3)) ** 2)
    )
    across = np.exp(-(((patch.x_1W - x) / (0.6 * lips.width)) ** 2))
    strength = (0.25 + 0.2 * mouth.round) * (1 - 0.5 * mouth.press)
    patch.paint(light * across * lip_mask * strength, np.minimum(look.lip * 1.4, 255))
    shade = np.exp(-(((patch.y_H1 - lips.top + 0.1 * lips.upper) / (0.5 * lips.upper + 0.3)) ** 2))
    patch.paint(shade * lip_mask * 0.24, look.lip * 0.55)


def draw_inside(
    patch: Patch, look: MouthLook, mouth: Mouth, lips: Lips, inside: np.ndarray, x: float
) -> None:
    """Draw what open lips show, back to front: darkness, tongue, teeth, tip of the tongue."""
    gap, w = lips.gap, lips.inner_width
    patch.paint(inside, DARK)
    if mouth.back > 0.05:
        height = gap * (0.15 + 0.5 * mouth.back)
        hump = patch.ellipse(x, lips.bottom, 0.75 * w, height, soft=0.6)
        patch.paint(hump * inside * min(1, 2 * mouth.back), TONGUE_BACK)
    if mouth.tip > 0.05:
        top = lips.bottom - gap * (0.18 + 0.5 * mouth.tip)
        tongue = patch.ellipse(x, top + 0.62 * gap, 0.58 * w, 0.62 * gap, soft=0.4)
        patch.paint(tongue * inside, TONGUE)
    draw_teeth(patch, look, mouth, lips, inside, x)
    if mouth.tip > 0.6:  # in front of the teeth, for /l/ and /th/
        tip = patch.ellipse(x, lips.top + 0.62 * gap, 0.42 * w, 0.36 * gap, soft=0.3)
        patch.paint(tip * inside * min(1, (mouth.tip - 0.6) / 0.3), TONGUE * 1.06)


def draw_teeth(
    patch: Patch, look: MouthLook, mouth: Mouth, lips: Lips, inside: np.ndarray, x: float
) -> None:
    """Draw two rows of teeth behind the lips, darker towards the corners."""
    across = np.abs(patch.x_1W - x)
    dim = np.clip(1.15 - 0.5 * across / lips.inner_width, 0, 1)
    between = 1 - 0.3 * (np.abs((across / look.tooth) % 1 - 0.5) > 0.42)
    if mouth.upper > 0.05:
        height = min(0.9 * lips.gap, 1.2 + 4.4 * mouth.upper)
        arch = 0.25 * (lips.corner - lips.top) * across / lips.width
        row = np.clip((lips.top + height + arch - patch.y_H1) / 0.5 + 0.5, 0, 1)
        patch.paint(inside * row * dim * between * 0.95, look.teeth)
    if mouth.lower > 0.05:
        height = min(0.45 * lips.gap, 0.6 + 3.0 * mouth.lower)
        row = np.clip((patch.y_H1 - lips.bottom + height) / 0.5 + 0.5, 0, 1)
        patch.paint(inside * row * dim * between * 0.85, look.teeth * 0.9)


def blur_coarsely(mask: np.ndarray, size: float) -> np.ndarray:
    """Blur by `size` units, in pixels of the image, which is faster than in those of the patch."""
    height, width = mask.shape
    small = cv2.resize(mask, (width // FINER, height // FINER), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), size), (width, height))


def lay(image: np.ndarray, patch: Patch, alpha: np.ndarray) -> None:
    """Reduce a patch to the pixels of the image and blend it in, in place."""
    height, width = patch.shape[0] // FINER, patch.shape[1] // FINER
    fine = cv2.merge(patch.planes)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)[..., None]
    region = image[patch.top : patch.top + height, patch.left : patch.left + width]
    blended = region + alpha * (small - region)
    region[:] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
