"""The page with a map in a browser, where there is one: Debian's chromium."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import uvicorn

from quadrat.bundle.loading import read_bundle
from quadrat.server.app import application
from quadrat.server.limits import Access, Limits
from quadrat.server.service import Service, default_place
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan, Ready
from tests.browser import BROWSER, Page, browser
from tests.bundling import FOREST, TASK, packed, prepared

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")

READY = """
document.querySelectorAll(".leaflet-layer-pane canvas").length > 0
  && !document.querySelector(".leaflet-tile:not(.leaflet-tile-loaded)")
"""
"""Whether all tiles are there."""

PIXELS = """
[...document.querySelectorAll(".leaflet-layer-pane canvas")].flatMap(canvas =>
  [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3)]
).filter(alpha => alpha > 0).length
"""
"""How many pixels of the layer are drawn."""

WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Give the address of an application that a thread serves."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepared(tmp_path_factory.mktemp("shown"), FOREST)
    packed(root, FOREST)
    return root


@pytest.fixture(scope="module")
def address(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ready = Ready.of(read_bundle(project / "bundle.zip"), Plan())
    place = default_place(tmp_path_factory.mktemp("cache"), 1 << 28)
    service = Service.of(ready, str(project / "scenes.yaml"), Reading(), place, Limits())
    with running(application(service, Access())) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as page:
        yield page, folder


@pytest.fixture
def page(shared: tuple[Page, Path], address: str) -> Page:
    page, _ = shared
    page.open("about:blank")
    page.size(1200, 800)
    page.asked.clear()
    page.errors.clear()
    page.open(address)
    page.wait(READY)
    return page


def downloaded(folder: Path, pattern: str) -> Path:
    """Wait for a file that is whole."""
    until = time.monotonic() + 30
    while not (found := [file for file in folder.glob(pattern) if file.suffix != ".crdownload"]):
        assert time.monotonic() < until, f"{pattern} is not downloaded"
        time.sleep(0.1)
    return found[0]


def press(selector: str) -> str:
    return f"document.querySelector({selector!r}).click()"


def test_the_page_shows_image_and_prediction(page: Page, address: str) -> None:
    assert page.run("document.title") == "Woods and lakes"
    names = page.run("[...document.querySelectorAll('#legend label')].map(one => one.textContent)")
    assert names == [one.name for one in TASK.classes]
    assert page.run(PIXELS) > 1000
    assert page.run("document.querySelectorAll('.leaflet-image-pane canvas').length") > 0
    assert page.errors == []
    elsewhere = [one for one in page.asked if one.startswith("http") and not one.startswith(address)]
    assert elsewhere == []


def test_a_class_is_hidden_without_asking_again(page: Page) -> None:
    before = page.run(PIXELS)
    page.asked.clear()
    counts = []
    for number in range(len(TASK.classes)):
        page.run(press(f"#class-{number}"))
        counts.append(page.run(PIXELS))
    assert before > counts[0] > counts[1] > counts[2] == 0
    assert [one for one in page.asked if "/tiles/" in one] == []
    assert "off=0%2C1%2C2" in page.run("location.hash")


def test_classes_of_one_colour_are_hidden_together(page: Page) -> None:
    script = """
    Promise.all([import("/page/panel.js"), import("/page/state.js")]).then(([panel, state]) => {
      const classes = ["#aa0000", "#00bb00", "#AA0000"].map((color, id) => ({id, name: `class ${id}`, color}));
      const entry = panel.Panel.prototype.entry.call({}, classes[0], classes);
      document.body.append(entry); // elsewhere a box tells no change
      entry.querySelector("input").click();
      return state.state.off;
    })
    """
    assert page.run(script) == [0, 2]  # tiles hold colours, by which they hide classes


def test_a_link_shows_the_same(page: Page, address: str) -> None:
    page.run(press("#class-1"))
    page.run("document.querySelector('.leaflet-control-zoom-in').click()")
    page.wait(READY)
    page.run(press("#swiping"))
    link = page.wait("location.hash.includes('swipe=50') && location.href")
    seen = page.run(PIXELS), page.run("document.querySelector('.leaflet-layer-pane').style.clipPath")
    page.open("about:blank")
    page.open(link)
    page.wait(READY)
    assert page.run("document.querySelector('#class-1').checked") is False
    assert (page.run(PIXELS), page.run("document.querySelector('.leaflet-layer-pane').style.clipPath")) == seen
    page.open("about:blank")
    page.open(f"{address}#image=none&layer=none%20such&off=x&opacity=-5&swipe=nonsense&at=1/2")
    page.wait(READY)
    assert page.run("document.querySelector('#opacity').value") == "0"
    assert page.errors == []


def test_the_swipe_cuts_the_layer(page: Page) -> None:
    page.run(press("#swiping"))
    where = "parseFloat(document.querySelector('#line').style.left)"
    before = page.run(where)
    left, top = page.run(
        "(() => { const box = document.querySelector('#swipe').getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2] })()"
    )
    page.drag((left, top), (left + 200, top))
    assert abs(page.run(where) - before - 200) < 15
    page.run("document.querySelector('#beneath').value = 'uncertainty'")
    page.run("document.querySelector('#beneath').dispatchEvent(new Event('change'))")
    page.wait("document.querySelectorAll('.leaflet-beneath-pane canvas').length > 0")
    panes = [
        page.run(f"document.querySelector('.leaflet-{name}-pane').style.clipPath") for name in ("beneath", "layer")
    ]
    (_, until, *_), (begin, *_) = (re.findall(r"(-?[\d.]+)px -?[\d.]+px", clip) for clip in panes)
    assert until == begin  # what lies beneath ends where the layer begins
    assert "beneath=uncertainty" in page.run("location.hash")
    page.run("document.querySelector('#swipe').focus()")
    before = page.run("document.querySelector('#swipe').value")
    page.key("ArrowRight", 39)
    assert int(page.run("document.querySelector('#swipe').value")) == int(before) + 1


def test_a_click_tells_class_and_scores(page: Page) -> None:
    x, y = page.run(
        "(() => { const box = document.querySelector('#map').getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2] })()"
    )
    page.click(x, y)
    page.wait("document.querySelectorAll('#place tr').length === 3")
    names = page.run("[...document.querySelectorAll('#place th')].map(one => one.textContent)")
    assert set(names) == {one.name for one in TASK.classes}
    assert page.run("document.querySelector('#place strong').textContent").strip() == names[0]
    before = page.run("document.querySelector('#place').textContent")
    page.run("document.querySelector('#map').focus()")
    page.key("ArrowRight", 39)
    page.wait(f"location.hash && {READY}")
    page.run(press("#centre"))
    there = "document.querySelectorAll('#place tr').length === 3"
    page.wait(f"{there} && document.querySelector('#place').textContent !== {before!r}")


def test_a_box_is_predicted_to_a_file(page: Page, shared: tuple[Page, Path]) -> None:
    page.run(press("#draw"))
    at = page.run("location.hash")
    page.drag((300, 300), (500, 450))
    page.wait("document.querySelectorAll('#files button').length === 2")
    assert page.run("location.hash") == at  # the map stayed
    page.run(press("#files button"))
    page.wait("document.querySelector('#box').textContent.includes('saved')")
    with rasterio.open(downloaded(shared[1], "*labels.tif")) as file:
        assert set(np.unique(file.read())) <= {0, 1, 2, 255}
        assert file.nodata == 255


def test_an_image_is_sent_and_its_result_downloaded(page: Page, shared: tuple[Page, Path], project: Path) -> None:
    own = shared[1] / "own.tif"
    with rasterio.open(project / "image.tif") as file:
        about, pixels = {**file.profile, "height": 50, "width": 60}, file.read()[:, :50, :60]
    with rasterio.open(own, "w", **about) as file:
        file.write(pixels)
        file.descriptions = ("B1", "B2", "B3")
    page.choose_file("#file", own)
    page.run("document.querySelector('#form').value = 'tif'")
    page.run(press("#upload button"))
    page.wait("/done|failed|error/.test(document.querySelector('#jobs [role=status]')?.textContent)", 60)
    assert page.run("document.querySelector('#jobs [role=status]').textContent") == "done"
    page.run(press("#jobs a"))
    with rasterio.open(downloaded(shared[1], "labels.tif")) as file:
        assert file.shape == (50, 60)
    (shared[1] / "text.tif").write_text("no image")
    page.choose_file("#file", shared[1] / "text.tif")
    page.run(press("#upload button"))
    page.wait("document.querySelector('#sent.error')?.textContent.includes('no GeoTIFF')")
    page.run(press("#jobs button"))
    page.wait("!document.querySelector('#jobs li')")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1200, 800)])
def test_every_control_has_a_name_and_a_place(page: Page, width: int, height: int) -> None:
    page.size(width, height, touch=width < 600)
    page.run(press("#swiping"))
    assert page.run(WIDE) <= 0
    assert page.run("document.querySelector('#map').getBoundingClientRect().height") > 300
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "slider", "checkbox", "link", "progressbar"}
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {role for role, _ in controls} >= {"button", "combobox", "slider", "checkbox", "link"}
    assert [one for one in controls if not one[1].strip()] == []
    page.run(press("#toggle"))
    assert page.run("document.querySelector('#panel').hidden") is True
    assert page.run("document.querySelector('#toggle').getAttribute('aria-expanded')") == "false"
