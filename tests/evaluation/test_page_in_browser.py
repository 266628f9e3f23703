"""The page of eval is looked at in a browser, where there is one: Debian's chromium."""

import json
import os
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadrat.evaluation.page.page import page
from quadrat.evaluation.page.training import Training
from tests.evaluation.test_page import content, made, scene

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

WIDTHS = (390, 1200)
"""Of a phone and of a desk, px."""

LOOK = """
const found = [...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  const left = one => Math.round(one.getBoundingClientRect().x);
  return {
    wide: root.scrollWidth - root.clientWidth,
    images: [...page.images].map(image => image.complete && image.naturalWidth > 0 && image.width > 0),
    columns: new Set([...page.querySelectorAll("article:first-of-type .panels figure")].map(left)).size,
    beyond: [...page.querySelectorAll("p, h1, h2, h3, img, svg, figcaption, pre, .scroll")]
      .filter(one => one.matches(".scroll") || !one.closest(".scroll"))
      .filter(one => one.getBoundingClientRect().right > root.clientWidth + 1).length,
    flat: [...page.querySelectorAll("svg, table")].filter(one => one.getBoundingClientRect().height < 8).length,
    loaded: view.performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length,
    heading: page.querySelector("h1").innerText,
    first: page.querySelector("tbody th[scope=row], tr th[scope=row]").innerText,
  };
});
document.getElementById("found").textContent = JSON.stringify(found);
"""


def seen(html: str, folder: Path) -> list[dict[str, Any]]:
    """Return what a browser makes of a page at each of WIDTHS."""
    assert BROWSER is not None
    frames = "".join(
        f'<iframe srcdoc="{escape(html)}" style="width:{width}px;height:900px"></iframe>' for width in WIDTHS
    )
    harness = folder / "harness.html"
    script = f"window.addEventListener('load', () => {{ {LOOK} }});"
    harness.write_text(f"<!DOCTYPE html><pre id=found></pre>{frames}<script>{script}</script>", encoding="utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={folder / 'user'}",
    ]
    command = [BROWSER, *options, "--timeout=20000", "--dump-dom", harness.as_uri()]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    text = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    found: list[dict[str, Any]] = json.loads(unescape(text))
    return found


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_the_page_is_readable_on_a_phone_and_a_desk(tmp_path: Path) -> None:
    epochs = np.arange(30.0)
    columns = {"epoch": epochs, "train_loss": 1 / (1 + epochs), "validation_macro_f1": epochs / 40}
    scenes = [scene(origin=made()), scene("a-very-long-name-of-a-scene-" * 4, "validation"), scene("tile", "predict")]
    html = page(content(scenes=scenes, training=Training(columns, 7), parameters=f"path: {'long/' * 60}\n"))
    for look, columns_of_pictures in zip(seen(html, tmp_path), (1, 4), strict=True):
        assert look["wide"] == look["beyond"] == look["flat"] == look["loaded"] == 0, look
        assert len(look["images"]) == 12
        assert all(look["images"])
        assert look["columns"] == columns_of_pictures
        assert look["heading"].startswith("Semantic segmentation: macro F1 0.")
        assert look["first"] == "model"
