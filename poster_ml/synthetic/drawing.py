"""Draws one synthetic poster from a plan: background, rows of figures, title, billing block.

Everything is drawn at twice the size and reduced, so edges are smooth; all boxes lie on whole
pixels of the finished picture. The plan decides what is drawn; this module knows nothing of labels.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SCALE = 2  # drawn at SCALE times the size, then reduced
FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "STIXGeneralBol",
)
GRIDS = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 6: (2, 3), 8: (2, 4), 10: (2, 5), 12: (3, 4), 15: (3, 5)}
CREDITS_TOP = 0.915  # the billing block begins here, as a share of the height

Color = tuple[int, int, int]


class Box(NamedTuple):
    """A rectangle in pixels of the finished poster; left and top inside, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


@dataclass(frozen=True)
class Plan:
    """What a poster shows; shares are of the whole poster.

    `title_share` is the area of the title's box, `title_width` its width; `figures` is a key of GRIDS;
    `hue` in [0, 1) is the background's; `mark` draws a small white badge into the upper right corner.
    """

    title: str
    title_share: float
    title_width: float
    title_on_top: bool
    figures: int
    hue: float
    mark: bool


def draw_poster(
    plan: Plan, width: int, height: int, random: np.random.Generator
) -> tuple[Image.Image, list[tuple[str, Box]]]:
    """Draws one poster.

    Args:
        plan: what to show.
        width, height: of the finished picture in pixels.
        random: decides everything that the plan leaves open.

    Returns: an RGB picture of that size, and its parts as (kind, box): title, figure, credits or mark.
    """
    ground, deep, inks = _palette(plan.hue, random)
    canvas = _background(width * SCALE, height * SCALE, ground, deep, random)
    pen = ImageDraw.Draw(canvas)
    title = _title_box(plan, width, height, random)
    regions = [("title", title)]
    hair = _between(inks[2], ground, 0.45)
    figures = _figure_boxes(plan, title, width, height, random)
    full_length = figures[0].height > 1.7 * figures[0].width
    bodies = inks[2:] if random.random() < 0.5 else inks[2:3]
    for number, box in enumerate(figures):
        regions.append(("figure", box))
        body = bodies[number % len(bodies)]
        _draw_figure(pen, box, (body, inks[1], hair), full_length, random)
    font = FONTS[int(random.integers(len(FONTS)))]
    _draw_title(canvas, plan.title, title, font, inks[0])
    regions.append(("credits", _draw_credits(canvas, width, height, inks[0], random)))
    if plan.mark:
        regions.append(("mark", _draw_mark(pen, width)))
    return canvas.reduce(SCALE), regions


def _between(first: Color, second: Color, share: float) -> Color:
    """Mixes two colours: 0 is the first, 1 the second."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _palette(hue: float, random: np.random.Generator) -> tuple[Color, Color, list[Color]]:
    """Returns two background colours of one hue and four inks that stand out: the first is the title's.

    Dark and light grounds are equally frequent, and titles and figures draw from the same values,
    so neither brightness nor a colour histogram tells a big title from many figures.
    """
    saturation = random.uniform(0.35, 0.8)
    dark = bool(random.random() < 0.5)
    value = random.uniform(0.16, 0.42) if dark else random.uniform(0.74, 0.95)
    ground = _rgb(hue, saturation if dark else saturation * 0.6, value)
    deep_value = value * random.uniform(0.45, 0.9) if dark else value * random.uniform(0.8, 1.0)
    deep = _rgb(hue + random.uniform(-0.06, 0.06), saturation * random.uniform(0.7, 1.1) * 0.9, deep_value)
    inks = []
    apart = 0.5 if random.random() < 0.4 else 0.0  # some posters set cold inks on a warm ground and so on
    for _ in range(4):
        ink_hue = hue + apart + random.uniform(-0.09, 0.09)
        ink_value = random.uniform(0.78, 1.0) if dark else random.uniform(0.08, 0.36)
        inks.append(_rgb(ink_hue, random.uniform(0.05, 0.6), ink_value))
    return ground, deep, inks


def _background(
    width: int, height: int, ground: Color, deep: Color, random: np.random.Generator
) -> Image.Image:
    """A gradient, sometimes a disc or hills, and soft grain."""
    rows, columns = np.mgrid[0:1:67j, 0:1:46j]
    kind = int(random.integers(3))
    if kind == 0:  # from top to bottom or back
        ramp = rows if random.random() < 0.5 else 1 - rows
    elif kind == 1:  # diagonal
        ramp = (rows + columns) / 2
    else:  # a glow
        ramp = np.hypot(rows - random.uniform(0.2, 0.8), columns - random.uniform(0.2, 0.8))
    grain = random.normal(0, 0.06, ramp.shape)
    share = np.clip(ramp + grain, 0, 1)[..., None]
    colors = np.asarray(ground, np.float32) * (1 - share) + np.asarray(deep, np.float32) * share
    picture = Image.fromarray(colors.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    middle = _between(ground, deep, 0.5)
    pen = ImageDraw.Draw(picture)
    scene = random.random()
    if scene < 0.35:  # sun or moon
        radius = random.uniform(0.15, 0.33) * width
        x, y = random.uniform(0.25, 0.75) * width, random.uniform(0.2, 0.6) * height
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=middle)
    elif scene < 0.7:  # hills
        xs = np.linspace(0, width, 9)
        ys = height * (random.uniform(0.6, 0.8) + random.uniform(-0.06, 0.06, 9))
        pen.polygon([(0, height), *zip(xs.tolist(), ys.tolist(), strict=True), (width, height)], fill=middle)
    return picture


def _title_box(plan: Plan, width: int, height: int, random: np.random.Generator) -> Box:
    wide = round(plan.title_width * width)
    high = max(4, round(plan.title_share * width * height / wide))
    left = int(random.integers(round(0.04 * width), width - wide - round(0.03 * width) + 1))
    slack = int(random.integers(0, max(1, round(0.03 * height))))
    if plan.title_on_top:
        top = round(0.04 * height) + slack
    else:
        top = round((CREDITS_TOP - 0.03) * height) - high - slack
    return Box(left, top, left + wide, top + high)


def _figure_boxes(plan: Plan, title: Box, width: int, height: int, random: np.random.Generator) -> list[Box]:
    """Places the figures in regular rows in what the title leaves free."""
    rows, columns = GRIDS[plan.figures]
    if plan.title_on_top:
        top, bottom = title.bottom + round(0.03 * height), round((CREDITS_TOP - 0.02) * height)
    else:
        top, bottom = round(0.04 * height), title.top - round(0.03 * height)
    cell_width, cell_height = 0.92 * width / columns, (bottom - top) / rows
    # The inked area is drawn first and the figures get what the title's letters (.45 of its box) leave of it,
    # so that the amount of ink, and with it any colour histogram, hardly depends on the number of figures.
    inked = random.uniform(0.15, 0.25) - 0.45 * plan.title_share
    area = inked / 0.7 * width * height / plan.figures  # a figure covers .7 of its box
    high = min(0.9 * cell_height, float(np.sqrt(area / random.uniform(0.42, 0.62))))
    wide = min(0.86 * cell_width, area / high, 0.75 * high)
    if rows == 1:  # stand where the free band is, not always in its middle
        top += round(random.uniform(0, max(0.0, cell_height - high)))
        cell_height = high
    boxes = []
    for row in range(rows):
        for column in range(columns):
            x = 0.04 * width + (column + 0.5) * cell_width
            y = top + (row + 0.5) * cell_height
            left, upper = round(x - wide / 2), round(y - high / 2)
            boxes.append(Box(left, upper, left + max(3, round(wide)), upper + max(5, round(high))))
    return boxes


def _draw_figure(
    pen: ImageDraw.ImageDraw,
    box: Box,
    colors: tuple[Color, Color, Color],
    full_length: bool,
    random: np.random.Generator,
) -> None:
    """A stylised person that fills its box: head with hair, shoulders, and legs if at full length."""
    body, face, hair = colors
    left, top = box.left * SCALE, box.top * SCALE
    wide, high = box.width * SCALE, box.height * SCALE
    head = min(0.36 * high, 0.62 * wide)
    middle = left + wide / 2
    pen.ellipse((middle - head * 0.42, top, middle + head * 0.42, top + head), fill=face)
    pen.chord((middle - head * 0.46, top, middle + head * 0.46, top + head * 0.9), 180, 360, fill=hair)
    neck, right, bottom = top + head * 0.98, left + wide - 1, top + high - 1
    pen.rectangle((middle - head * 0.16, top + head * 0.8, middle + head * 0.16, neck + 2), fill=face)
    if full_length:
        hip = neck + 0.5 * (bottom - neck)
        pen.rounded_rectangle((left, neck, right, hip), radius=wide * 0.22, fill=body)
        stride = wide * random.uniform(0.08, 0.16)
        pen.rectangle((left + wide * 0.16, hip - wide * 0.2, middle - stride / 2, bottom), fill=body)
        pen.rectangle((middle + stride / 2, hip - wide * 0.2, right - wide * 0.16, bottom), fill=body)
    else:
        pen.rounded_rectangle((left, neck, right, bottom), radius=min(wide, bottom - neck) * 0.4, fill=body)
        pen.rectangle((left, (neck + bottom) / 2, right, bottom), fill=body)
    pen.polygon(  # collar
        [(middle - head * 0.2, neck), (middle + head * 0.2, neck), (middle, neck + head * 0.5)], fill=hair
    )


def _draw_title(canvas: Image.Image, title: str, box: Box, font: str, color: Color) -> None:
    """Sets the title in lines that each fill the width of the box, as display lettering does."""
    words = title.split()
    natural = [max(1, len(word)) * 0.62 for word in words]
    wanted = box.width / box.height  # width over height of the whole block
    lines = min(
        range(1, len(words) + 1), key=lambda count: abs(np.log(sum(natural) / count / count / wanted))
    )
    parts = np.array_split(np.asarray(words, dtype=object), lines)
    pitch = box.height * SCALE / lines
    for number, part in enumerate(parts):
        top = round(number * pitch)
        last = number == lines - 1
        bottom = box.height * SCALE if last else round((number + 0.86) * pitch)
        mask = _ink(" ".join(part), font).resize(
            (box.width * SCALE, max(2, bottom - top)), Image.Resampling.BILINEAR
        )
        canvas.paste(color, (box.left * SCALE, box.top * SCALE + top), mask)


def _draw_credits(
    canvas: Image.Image, width: int, height: int, color: Color, random: np.random.Generator
) -> Box:
    """Two lines of tiny condensed text at the foot."""
    box = Box(round(0.14 * width), round(CREDITS_TOP * height), round(0.86 * width), round(0.965 * height))
    pitch = box.height * SCALE / 2
    for line in range(2):
        letters = random.integers(97, 123, size=(6, 6))
        text = " ".join("".join(map(chr, word)) for word in letters).upper()
        size = (box.width * SCALE, max(2, round(pitch * 0.8)))
        # Never cached: each line is drawn once.
        mask = _ink.__wrapped__(text, "DejaVuSans-Bold").resize(size, Image.Resampling.BILINEAR)
        canvas.paste(color, (box.left * SCALE, round(box.top * SCALE + line * pitch)), mask)
    return box


def _draw_mark(pen: ImageDraw.ImageDraw, width: int) -> Box:
    size = max(4, round(0.1 * width))
    box = Box(width - size - 2, 2, width - 2, 2 + size)
    corners = (box.left * SCALE, box.top * SCALE, box.right * SCALE - 1, box.bottom * SCALE - 1)
    pen.rectangle(corners, fill=(255, 255, 255))
    third = size * SCALE / 3
    pen.rectangle(
        (corners[0] + third, corners[1] + third, corners[2] - third, corners[3] - third), fill=(0, 0, 0)
    )
    return box


@lru_cache(maxsize=2048)
def _ink(text: str, font: str) -> Image.Image:
    """The text as a mask (L) cropped to its ink, 48 pixels tall type."""
    face = _font(font)
    left, top, right, bottom = face.getbbox(text)
    mask = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8), 0)
    ImageDraw.Draw(mask).text((4 - left, 4 - top), text, fill=255, font=face)
    return mask.crop(mask.getbbox())


@lru_cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    """A typeface that comes with Matplotlib: the same on every machine."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", 48)
