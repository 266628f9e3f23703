"""Styles for QGIS within a GeoPackage: its table ``layer_styles``."""

import sqlite3
from contextlib import closing
from pathlib import Path

CREATE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
    ui TEXT(30), update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""
"""The table as QGIS makes it."""

NOTE = "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) VALUES (?, 'attributes', ?, ?)"

ADD = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
    styleSLD, useAsDefault, description, owner, update_time)
SELECT '', '', table_name, column_name, table_name, ?, '', 1, 'by quadrat', '', ? FROM gpkg_geometry_columns
WHERE table_name = ?
"""


def add_style(path: Path, layer: str, style: str, date: str) -> None:
    """Make ``style`` (QML) that in which QGIS opens a ``layer`` of the GeoPackage at ``path``; ``date`` is its time.

    A style that the layer has is replaced.
    """
    with closing(sqlite3.connect(path)) as database, database:
        known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'").fetchone()
        if not known:
            database.execute(CREATE)
            database.execute(NOTE, ("layer_styles", "layer_styles", date))
        database.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
        database.execute(ADD, (style, date, layer))
