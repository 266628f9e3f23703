"""The legend as a picture."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw

from quadrat.tasks.common.classes import Class

ROW, WIDTH = 22, 240
"""Height of a row, and width of a legend, px."""


def legend_png(classes: Sequence[Class]) -> bytes:
    """Return a row for each class: its colour and its name."""
    picture = Image.new("RGB", (WIDTH, ROW * len(classes) + 8), "white")
    pen = ImageDraw.Draw(picture)
    for number, one in enumerate(classes):
        top = 4 + ROW * number
        pen.rectangle((6, top + 3, 22, top + ROW - 4), fill=one.rgb, outline=(90, 90, 90))
        pen.text((30, top + 5), one.name, fill="black")
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
