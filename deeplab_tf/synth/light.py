"""Daylight (sky, sun, haze) and the camera's response to it (white balance, contrast, blur, noise)."""

from typing import NamedTuple, Tuple

import cv2
import numpy as np

Color = Tuple[float, float, float]

#   sky at the top      sky at the horizon  tint of lit things   sun   shadow  haze (m)
_DAYS = (
    ((92, 138, 200), (190, 210, 228), (1.04, 1.02, 0.98), 0.26, 0.58, 900.0),  # clear
    ((120, 160, 206), (214, 222, 226), (1.00, 1.00, 1.00), 0.18, 0.66, 600.0),  # hazy sun
    ((176, 180, 186), (206, 208, 208), (0.92, 0.94, 0.97), 0.05, 0.84, 420.0),  # overcast
    ((214, 216, 216), (232, 232, 230), (0.98, 0.99, 1.00), 0.03, 0.86, 300.0),  # white sky
    ((126, 134, 168), (240, 198, 150), (1.08, 0.95, 0.80), 0.32, 0.56, 500.0),  # low sun
    ((58, 66, 104), (150, 128, 134), (0.58, 0.58, 0.70), 0.06, 0.84, 380.0),  # dusk
)


class Light(NamedTuple):
    """The light of a scene, and the camera; colors are RGB in 0..255, factors multiply them."""

    sky_top: Color
    sky_low: Color
    tint: Color
    sun_x: float  # how much brighter a face to the right is (negative: to the left)
    sun_z: float  # how much brighter a face away from the camera is
    shadow: float  # share of the light on ground in the shadow
    haze_depth: float  # metres at which half of a color is haze
    lamps: float  # share of windows with light in them
    clouds: float  # 0 no clouds .. 1 many
    gains: Color  # white balance and exposure, a channel
    contrast: float
    blur: float  # sigma in pixels of a 1024 pixels wide image
    noise: int  # sensor noise: 8-bit noise is divided by 2 to this power


def draw_light(random: np.random.RandomState) -> Light:
    """Draw one of six kinds of day, varied."""
    day = random.choice(len(_DAYS), p=(0.26, 0.2, 0.2, 0.12, 0.14, 0.08))
    top, low, tint, sun, shadow, haze = _DAYS[day]
    side = 1.0 if random.rand() < 0.5 else -1.0
    warm, exposure = random.uniform(-0.07, 0.07), random.uniform(0.84, 1.12)
    dim = random.uniform(0.86, 1.08)
    top_r, top_g, top_b = (c * dim for c in top)
    low_r, low_g, low_b = (min(250.0, c * dim) for c in low)
    return Light(
        sky_top=(top_r, top_g, top_b),
        sky_low=(low_r, low_g, low_b),
        tint=tint,
        sun_x=side * sun * random.uniform(0.4, 1.0),
        sun_z=sun * random.uniform(-0.8, 0.8),
        shadow=shadow,
        haze_depth=haze * random.uniform(0.6, 1.5),
        lamps=0.6 if day == 5 else 0.04,
        clouds=random.rand(),
        gains=(exposure * (1 + warm), exposure, exposure * (1 - warm)),
        contrast=random.uniform(-0.25, 0.45),
        blur=random.uniform(0.0, 0.9),
        noise=int(random.choice([4, 5, 5, 6])),
    )


def sky(light: Light, size: Tuple[int, int], horizon: int, random: np.random.RandomState) -> np.ndarray:
    """Return (horizon, width, 4) uint8: a gradient with clouds, upsampled; the fourth channel is the roughness."""
    height, width = max(8, horizon // 8), max(8, size[1] // 8)
    down = np.linspace(0.0, 1.0, height)[:, None, None]
    colors = np.array(light.sky_top) * (1 - down) + np.array(light.sky_low) * down
    cover = np.zeros((height, width), np.float64)
    for octave, weight in ((4, 0.55), (9, 0.3), (20, 0.15)):
        cells = random.randint(0, 256, (octave, octave * 2)).astype(np.uint8)
        cover += weight * cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    cover = np.clip((cover - 160.0 + 80.0 * light.clouds) / 70.0, 0.0, 1.0)[:, :, None] * (0.85 - 0.4 * down)
    cloud = np.minimum(np.array(light.sky_low) * 1.06 + 8.0, 250.0)
    small = np.ones((height, width, 4), np.uint8)
    small[:, :, :3] = np.rint(colors * (1 - cover) + cloud * cover)
    return cv2.resize(small, (size[1], horizon), interpolation=cv2.INTER_LINEAR_EXACT)


def expose(image: np.ndarray, grain: np.ndarray, light: Light, random: np.random.RandomState) -> np.ndarray:
    """Return the photograph of a drawing: surface texture, lens blur, white balance, contrast and sensor noise.

    Args:
        image: (H, W, 3) uint8 as drawn.
        grain: (H, W) uint8, the roughness of the surface at each pixel.
    """
    height, width = grain.shape
    fine = np.frombuffer(random.bytes(height * width), np.int8).reshape(height, width)
    rows, columns = height // 4 + 1, width // 4 + 1
    cells = np.frombuffer(random.bytes(rows * columns), np.uint8).reshape(rows, columns)
    coarse = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    texture = (fine.astype(np.int16) + 2 * coarse.astype(np.int16) - 256) // 2 * grain.astype(np.int16) // 224
    image = cv2.merge([cv2.add(image[:, :, c].astype(np.int16), texture) for c in range(3)])
    image = np.clip(image, 0, 255).astype(np.uint8)
    sigma = light.blur * width / 1024
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (3, 3) if sigma < 0.7 else (5, 5), sigma)
    ramp = np.arange(256) / 255.0
    curves = []
    for gain in light.gains:
        level = np.clip(ramp * gain, 0.0, 1.0)
        level = level + light.contrast * level * (1 - level) * (2 * level - 1)
        curves.append(np.rint(level * 255.0).astype(np.uint8))
    image = cv2.LUT(image, np.stack(curves, axis=-1)[None])
    speckle = np.frombuffer(random.bytes(image.size), np.int8).reshape(image.shape) >> light.noise
    return np.clip(image.astype(np.int16) + speckle, 0, 255).astype(np.uint8)
