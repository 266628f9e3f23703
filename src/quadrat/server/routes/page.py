"""The page with a map: files that lie in the package, with Leaflet 1.9.4; nothing comes from elsewhere."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parents[1] / "page"


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/``, and its files below ``/page``."""

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", media_type="text/html")

    app.mount("/page", StaticFiles(directory=FOLDER), name="page")
