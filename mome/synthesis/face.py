"""Drawn speakers: a portrait is painted once, then changed for each image of a clip.

The portrait is painted from a seed, on a canvas with finer pixels. An image is the portrait with
its chin lowered, a mouth (mouth.py) and eyelids drawn, the head moved, and camera noise added.
Lengths are in units of 1/224 of the image's side; x goes right, y goes down; colours are RGB.

Shape key
    T  images    H W  224, 224
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mome.data import VIDEO_FPS
from mome.synthesis import mouth as mouths
from mome.synthesis.mouth import Mouth, MouthLook, spline

SIZE = 224
FINER = 2  # pixels of the canvas, across and down, in a pixel of the image
CAMERA_NOISE = 2.0  # standard deviation, grey levels
NOISE_FIELDS = 16  # drawn once for a speaker; each image has one of them
BLINK = (0.5, 1.0, 0.6)  # how far the lids are closed in the three images of a blink

SKINS = [
    (236, 200, 178), (228, 184, 156), (210, 164, 134), (184, 138, 110),
    (152, 110, 86), (128, 92, 74), (240, 210, 192),
]  # fmt: skip
HAIRS = [
    (30, 24, 20), (70, 46, 30), (120, 84, 48), (170, 140, 90),
    (60, 60, 62), (150, 150, 152), (110, 50, 24),
]  # fmt: skip
IRISES = [(90, 60, 40), (60, 90, 120), (70, 100, 70), (50, 38, 30)]


@dataclass(frozen=True)
class Look:
    """What a speaker looks like. (`cx`, `cy`) is the middle of the head; sizes are half sizes."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    background: np.ndarray
    cx: float
    cy: float
    width: float
    height: float
    jaw_square: float
    eye_y: float
    eye_dx: float
    eye_width: float
    eye_height: float
    hair_width: float
    long_hair: bool
    beard: bool
    light: np.ndarray  # where it comes from: a unit vector (x, y, towards the viewer)
    mouth: MouthLook

    @property
    def mouth_y(self) -> float:
        """Height of the middle of the lips."""
        return self.cy + 0.5 * self.height


def draw_look(rng: np.random.Generator) -> Look:
    """A random speaker."""
    skin = np.array(SKINS[rng.integers(len(SKINS))], float) + rng.normal(0, 6, 3)
    width, height = 56 * rng.uniform(0.92, 1.08), 78 * rng.uniform(0.95, 1.06)
    eye_width = width * rng.uniform(0.20, 0.24)
    light = np.array([rng.uniform(-0.5, 0.5), -0.45, 0.8])
    mouth = MouthLook(
        width=24 * rng.uniform(0.9, 1.12),
        upper_lip=5.4 * rng.uniform(0.8, 1.25),
        lower_lip=7.4 * rng.uniform(0.8, 1.25),
        lip=skin * (0.82, 0.5, 0.5) + rng.normal(0, 6, 3),
        teeth=np.array([236, 230, 214]) * rng.uniform(0.85, 1),
        tooth=rng.uniform(4.0, 5.0),
    )
    return Look(
        skin=skin,
        hair=np.array(HAIRS[rng.integers(len(HAIRS))], float) + rng.normal(0, 5, 3),
        iris=np.array(IRISES[rng.integers(len(IRISES))], float),
        clothes=rng.uniform(30, 200, 3),
        background=rng.uniform(40, 200, 3),
        cx=SIZE / 2,
        cy=SIZE / 2,
        width=width,
        height=height,
        jaw_square=rng.uniform(1.8, 2.5),
        eye_y=SIZE / 2 - 0.13 * height,
        eye_dx=width * rng.uniform(0.40, 0.46),
        eye_width=eye_width,
        eye_height=eye_width * rng.uniform(0.34, 0.46),
        hair_width=rng.uniform(1.02, 1.25),
        long_hair=bool(rng.random() < 0.45),
        beard=bool(rng.random() < 0.25),
        light=light / np.linalg.norm(light),
        mouth=mouth,
    )


class Canvas:
    """An image in finer pixels, (2 H, 2 W, 3), float, to paint with soft shapes."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels.astype(np.float32)
        side = (np.arange(SIZE * FINER, dtype=np.float32) + 0.5) / FINER
        self.x_1W, self.y_H1 = side[None], side[:, None]

    def fill(self, points, colour, soft: float = 0.0, alpha: float = 1.0) -> np.ndarray:
        """Paint a polygon; returns its mask (2 H, 2 W), from 0 to alpha."""
        mask: np.ndarray = np.zeros(self.pixels.shape[:2], np.uint8)
        corners = np.round((np.asarray(points) * FINER - 0.5) * 8).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 3)
        mask = mask.astype(np.float32) * (alpha / 255)
        if soft:
            mask = cv2.GaussianBlur(mask, (0, 0), soft * FINER)
        self.blend(mask, colour)
        return mask

    def spot(self, x: float, y: float, x_size: float, y_size: float, amount: float, colour) -> None:
        """Paint a soft round spot."""
        across = np.exp(-(((self.x_1W - x) / x_size) ** 2))
        self.blend(amount * across * np.exp(-(((self.y_H1 - y) / y_size) ** 2)), colour)

    def blend(self, mask: np.ndarray, colour) -> None:
        """Blend a colour in, with the mask as its opacity."""
        self.pixels += mask[..., None] * (np.asarray(colour, np.float32) - self.pixels)

    def image(self) -> np.ndarray:
        """Reduced to (H, W, 3), uint8."""
        small = cv2.resize(self.pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return np.clip(small, 0, 255).astype(np.uint8)


def ellipse(x: float, y: float, x_radius: float, y_radius: float) -> np.ndarray:
    """Polygon (80, 2)."""
    angles = np.linspace(0, 2 * np.pi, 80)
    return np.stack([x + x_radius * np.cos(angles), y + y_radius * np.sin(angles)], 1)


# ---- the portrait -------------------------------------------------------------------------------


def portrait(look: Look, rng: np.random.Generator) -> np.ndarray:
    """The speaker without a mouth and with open eyes: (H, W, 3), uint8."""
    canvas = Canvas(background(look, rng))
    paint_behind(canvas, look)
    paint_head(canvas, look)
    for side in (-1, 1):
        paint_cheek(canvas, look, side)
    paint_nose(canvas, look)
    paint_hair(canvas, look, rng)
    for side in (-1, 1):
        paint_eye(canvas, look, side)
    if look.beard:
        across = np.exp(-(((canvas.x_1W - look.cx) / (0.8 * look.width)) ** 2))
        down = np.exp(-(((canvas.y_H1 - look.mouth_y - 4) / (0.36 * look.height)) ** 2))
        canvas.blend(0.35 * across * down, look.hair)
    grain = rng.normal(0, 1, canvas.pixels.shape[:2]).astype(np.float32)
    canvas.pixels += 4 * cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None]
    return canvas.image()


def background(look: Look, rng: np.random.Generator) -> np.ndarray:
    """A colour with slow changes of brightness: (2 H, 2 W, 3)."""
    side = np.linspace(0, 1, SIZE * FINER)
    slope = side[None] * rng.uniform(-0.3, 0.3) + side[:, None] * rng.uniform(-0.3, 0.3)
    clouds = cv2.resize(rng.normal(0, 12, (6, 6, 3)), slope.shape, interpolation=cv2.INTER_CUBIC)
    return look.background * (1 + slope[..., None]) + clouds


def paint_behind(canvas: Canvas, look: Look) -> None:
    """Paint the hair behind the head, shoulders, neck and ears."""
    cx, cy, w, h = look.cx, look.cy, look.width, look.height
    hair = ellipse(cx, cy - 0.18 * h, 1.16 * w * look.hair_width, 1.02 * h)
    if look.long_hair:
        below = hair[:, 1] > cy - 0.18 * h
        hair[below, 1] += 0.33 * (hair[below, 1] - cy + 0.18 * h)
    canvas.fill(hair, look.hair * 0.8, soft=1.2)
    shoulders = [(-2, SIZE * 1.1), (-1.6, cy + 1.25 * h), (-0.6, cy + 1.08 * h)]
    outline = [(cx + x * w, y) for x, y in shoulders]
    outline += [(2 * cx - x, y) for x, y in reversed(outline)]
    canvas.fill(outline, look.clothes, soft=1)
    neck = [(-0.55, 0.5), (-0.58, 1.2), (0, 1.35), (0.58, 1.2), (0.55, 0.5)]
    canvas.fill([(cx + x * w, cy + y * h) for x, y in neck], look.skin * 0.74, soft=1)
    for side in (-1, 1):
        ear = ellipse(cx + side * w, cy - 0.02 * h, 0.13 * w, 0.18 * h)
        canvas.fill(ear, look.skin * 0.82, soft=0.6)


def paint_head(canvas: Canvas, look: Look) -> None:
    """Paint a rounded head, narrower at the chin, lit from one side."""
    cx, cy, w, h = look.cx, look.cy, look.width, look.height
    angles = np.linspace(0, 2 * np.pi, 80)
    cos, sin = np.cos(angles), np.sin(angles)
    jaw = np.sign(cos) * np.abs(cos) ** (1.8 / look.jaw_square) * (1 - 0.16 * sin**2)
    outline = np.stack(
        [cx + w * np.where(sin > 0, jaw, cos), cy + h * sin * np.where(sin > 0, 0.98, 0.95)], 1
    )
    mask = canvas.fill(outline, look.skin, soft=0.5)
    x, y = (canvas.x_1W - cx) / w, (canvas.y_H1 - cy) / h
    z = np.sqrt(1 - np.clip(x**2 + 0.8 * y**2, 0, 0.96))
    light = 0.48 + 0.66 * (x * look.light[0] + 0.8 * y * look.light[1] + z * look.light[2])
    canvas.pixels *= (1 + mask * (np.clip(light, 0.2, 1.25) - 1))[..., None]
    under_lip = look.mouth_y + 13
    canvas.spot(cx, under_lip, 0.28 * w, 3.5, 0.28, look.skin * 0.45)


def paint_cheek(canvas: Canvas, look: Look, side: int) -> None:
    """Paint a reddish cheek and the fold next to the nose; `side` -1 is left, 1 is right."""
    cx, cy, w, h = look.cx, look.cy, look.width, look.height
    red = look.skin * (1.05, 0.82, 0.8)
    canvas.spot(cx + side * 0.58 * w, cy + 0.22 * h, 0.26 * w, 0.16 * h, 0.22, red)
    fold = [(0.30, 0.26), (0.42, 0.38), (0.47, 0.5), (0.46, 0.5), (0.40, 0.38)]
    points = spline([(cx + side * x * w, cy + y * h) for x, y in fold])
    canvas.fill(points, look.skin * 0.62, soft=1.2, alpha=0.5)


def paint_nose(canvas: Canvas, look: Look) -> None:
    """Paint nostrils, shadows and highlights of the nose."""
    cx, cy, w, h = look.cx, look.cy, look.width, look.height
    dark, bright = look.skin * 0.45, np.minimum(look.skin * 1.25, 255)
    for side in (-1, 1):
        canvas.spot(cx + side * 0.15 * w, cy + 0.26 * h, 0.05 * w, 0.035 * h, 0.55, dark)
        canvas.spot(cx + side * 0.20 * w, cy + 0.23 * h, 0.06 * w, 0.06 * h, 0.28, dark)
        canvas.spot(cx + side * 0.13 * w, cy + 0.05 * h, 0.05 * w, 0.18 * h, 0.20, dark)
    canvas.spot(cx, cy + 0.02 * h, 0.06 * w, 0.2 * h, 0.35, bright)
    canvas.spot(cx, cy + 0.2 * h, 0.09 * w, 0.05 * h, 0.4, bright)
    canvas.spot(cx, cy + 0.285 * h, 0.16 * w, 0.02 * h, 0.35, dark)
    canvas.spot(cx, cy + 0.37 * h, 0.035 * w, 0.045 * h, 0.15, dark)


def paint_hair(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Paint the hair on the head, with a fringe and strands."""
    cx, cy, w, h = look.cx, look.cy, look.width, look.height
    side = [(1.05, -0.1), (1.12, -0.6), (0.7, -1.1)]
    fringe = [
        (0.92, -0.35),
        (rng.uniform(0.4, 0.7), -rng.uniform(0.55, 0.7)),
        (rng.uniform(-0.3, 0.3), -rng.uniform(0.6, 0.75)),
        (-rng.uniform(0.4, 0.7), -rng.uniform(0.5, 0.7)),
        (-0.92, -0.35),
    ]
    outline = [(-x, y) for x, y in side] + [(0, -1.2)] + side[::-1] + fringe
    points = spline([(cx + x * w, cy + y * h) for x, y in outline], closed=True)
    mask = canvas.fill(points, look.hair, soft=0.8)
    strands: np.ndarray = rng.normal(0, 1, mask.shape).astype(np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), sigmaX=0.5 * FINER, sigmaY=4.0 * FINER)
    canvas.pixels += (40 * strands * mask)[..., None]


def paint_eye(canvas: Canvas, look: Look, side: int) -> None:
    """Paint socket, brow, white, iris, pupil, a glint and the upper lid."""
    x, y, w, h = look.cx + side * look.eye_dx, look.eye_y, look.eye_width, look.eye_height
    canvas.spot(x, y - 1, 1.25 * w, 2.2 * h, 0.38, look.skin * 0.45)
    brow = y - 0.132 * look.height
    arch = [(-1.35 * w, 2), (0, -2.6), (1.35 * w, 2), (0, 1.2)]
    points = spline([(x + dx, brow + dy) for dx, dy in arch], closed=True)
    canvas.fill(points, look.hair * 0.75, soft=0.7, alpha=0.9)
    white = [(x - w, y), (x, y - 1.5 * h), (x + w, y), (x, y + 1.25 * h)]
    canvas.fill(spline(white, closed=True), (232, 228, 224), soft=0.25)
    canvas.fill(ellipse(x, y - 0.1 * h, 1.12 * h, 1.12 * h), look.iris, soft=0.3)
    canvas.fill(ellipse(x, y - 0.1 * h, 0.52 * h, 0.52 * h), (12, 10, 10), soft=0.2)
    canvas.fill(ellipse(x - 0.35 * h, y - 0.45 * h, 0.2 * h, 0.2 * h), (250, 250, 250), soft=0.2)
    lid = spline([(x - 1.05 * w, y + 0.5), (x, y - 1.55 * h), (x + 1.05 * w, y + 0.5)])
    canvas.fill(band(lid, 0, 1.5), look.hair * 0.3 + 10, soft=0.3, alpha=0.9)
    canvas.fill(band(lid, -3.6, -2.7), look.skin * 0.6, soft=0.6, alpha=0.6)


def band(curve: np.ndarray, above: float, below: float) -> np.ndarray:
    """Polygon between a curve moved by `above` and the same curve moved by `below`."""
    upper, lower = np.array([0, above]), np.array([0, below])
    return np.concatenate([curve + upper, (curve + lower)[::-1]])


# ---- images of a clip ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """How the head is held: moved by (x, y), turned by an angle in degrees, and enlarged."""

    x: float
    y: float
    angle: float
    size: float


class Face:
    """A speaker to draw. The same seed gives the same pixels."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.look = draw_look(rng)
        self.portrait = portrait(self.look, rng)
        shape = (NOISE_FIELDS, SIZE, SIZE, 1)
        noise = np.round(rng.normal(0, CAMERA_NOISE, shape)).astype(np.int16)
        self.noise = np.broadcast_to(noise, (*shape[:3], 3)).copy()
        self.map_y, self.map_x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        self.chin_weight = self.chin()
        self.chin_rows = slice(int(self.chin_weight.any(axis=1).argmax()), None)

    def chin(self) -> np.ndarray:
        """How far each pixel goes down with the jaw: (H, W), from 0 to 1."""
        look = self.look
        below = np.clip((self.map_y - look.mouth_y + 6) / 14, 0, 1)
        across = np.exp(-(((self.map_x - look.cx) / (0.95 * look.width)) ** 4))
        return below * below * (3 - 2 * below) * across

    def film(self, track_TC: np.ndarray, seed) -> tuple[np.ndarray, np.ndarray]:
        """Draw a clip: mouths (T, C) -> images (T, H, W, 3), uint8, and face boxes (T, 4).

        A box is x, y, width and height, as fractions of the image.
        """
        rng = np.random.default_rng(seed)
        heads, blinks = move_head(len(track_TC), rng), blink(len(track_TC), rng)
        images, boxes = [], []
        for row, head, lids in zip(track_TC, heads, blinks, strict=True):
            images.append(self.draw(Mouth(*row), lids, head, rng))
            boxes.append(self.box(head))
        return np.stack(images), np.array(boxes)

    def draw(self, mouth: Mouth, lids: float, head: Head, rng: np.random.Generator) -> np.ndarray:
        """One image (H, W, 3), uint8; `lids` is 0 for open and 1 for closed eyes."""
        look = self.look
        image, rows = self.portrait.copy(), self.chin_rows
        if mouth.jaw:
            drop = np.float32(mouths.DROP * mouth.jaw) * self.chin_weight[rows]
            maps = self.map_x[rows], self.map_y[rows] - drop
            image[rows] = cv2.remap(
                self.portrait, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        mouths.draw(image, look.mouth, mouth, look.cx, look.mouth_y, look.skin)
        if lids > 0.05:
            self.lower_lids(image, lids)
        image = cv2.warpAffine(
            image, self.matrix(head), (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT
        )
        noise = self.noise[rng.integers(NOISE_FIELDS)]
        return cv2.add(image, noise, dtype=cv2.CV_8U)

    def lower_lids(self, image: np.ndarray, lids: float) -> None:
        """Draw the upper lids into an image, in place."""
        look, y, h = self.look, self.look.eye_y, self.look.eye_height
        for side in (-1, 1):
            x, w = look.cx + side * look.eye_dx, 1.05 * look.eye_width
            edge = y + h * (3 * lids - 1.5)
            lid = spline([(x - w, y), (x, y - 1.7 * h), (x + w, y), (x, edge)], closed=True)
            points = np.round(lid * 8).astype(np.int32)
            cv2.fillPoly(image, [points], (0.8 * look.skin).tolist(), cv2.LINE_AA, 3)

    def matrix(self, head: Head) -> np.ndarray:
        """Affine map (2, 3) from the portrait to the image; the head turns around the chin."""
        centre = (self.look.cx, self.look.cy + self.look.height)
        matrix: np.ndarray = cv2.getRotationMatrix2D(centre, head.angle, head.size)
        matrix[:, 2] += np.array([head.x, head.y])
        return matrix

    def box(self, head: Head) -> np.ndarray:
        """The box of the face (4,): x, y, width, height, as fractions of the image."""
        look = self.look
        x, y = self.matrix(head) @ (look.cx, look.cy, 1)
        w, h = look.width * head.size, look.height * head.size
        return np.clip(np.array([x - w, y - h, 2 * w, 2 * h]) / SIZE, 0, 1)


def move_head(num_images: int, rng: np.random.Generator) -> list[Head]:
    """How the head is held in each image: it is never quite still."""
    x, y, angle, growth = (
        wander(num_images, seconds, size, rng)
        for seconds, size in ((1.2, 2.5), (1.2, 1.8), (1.0, 1.8), (2.0, 0.012))
    )
    return [Head(*values) for values in zip(x, y, angle, 1 + growth, strict=True)]


def wander(num_images: int, seconds: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random curve (T,) around 0 that turns about every `seconds`."""
    num_turns = max(int(num_images / (VIDEO_FPS * seconds)) + 3, 4)
    turns = np.stack([np.arange(num_turns), rng.normal(0, size, num_turns)], 1)
    curve = spline(turns)
    return np.interp(np.linspace(0, num_turns - 1, num_images), curve[:, 0], curve[:, 1])


def blink(num_images: int, rng: np.random.Generator) -> np.ndarray:
    """How far the lids are closed in each image: (T,), a blink every few seconds."""
    lids = np.zeros(num_images)
    start = int(rng.uniform(10, 70))
    while start < num_images:
        part = lids[start : start + len(BLINK)]
        part[:] = BLINK[: len(part)]
        start += int(rng.uniform(50, 130))
    return lids
