"""Images and label rasters that lead elsewhere, never end, or claim more than they hold."""

import os
import socket
import struct
import threading
import warnings
import zipfile
import zlib
from base64 import b85decode
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

from quadrat.errors import ImageError, LabelError, QuadratError
from quadrat.geo.grids.windows import Window
from quadrat.labels.raster import RasterLabels
from tests.ground import UTM, image, legend, write_raster
from tests.http_server import served

PIXELS = np.random.default_rng(3).integers(1, 3, (1, 40, 50)).astype(np.uint8)
TALL = np.repeat(PIXELS, 100, 1)
SIZE = 'rasterXSize="50" rasterYSize="40"'
PLACE = "<SRS>EPSG:32633</SRS><GeoTransform>330000, 10, 0, 5822040, 0, -10</GeoTransform>"
ABOUT = '<SourceProperties RasterXSize="50" RasterYSize="40" DataType="Byte" BlockXSize="50" BlockYSize="40"/>'
AREA = '<SrcRect xOff="0" yOff="0" xSize="50" ySize="40"/><DstRect xOff="0" yOff="0" xSize="50" ySize="40"/>'

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def listening() -> Iterator[tuple[str, list[object]]]:
    """Give the address of a server, and who has connected."""
    seen: list[object] = []
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            seen.append(address)
            connection.close()

    threading.Thread(target=answer, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/a.tif", seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def virtual(*sources: str, kind: str = "SimpleSource", relative: int = 0, band: str = "", more: str = "") -> str:
    """Return the text of a virtual raster of one band."""
    named = "".join(
        f'<{kind}><SourceFilename relativeToVRT="{relative}">{escape(one)}</SourceFilename>'
        f"<SourceBand>1</SourceBand>{ABOUT}{AREA}</{kind}>"
        for one in sources
    )
    return (
        f'<VRTDataset {SIZE}>{PLACE}<VRTRasterBand dataType="Byte" band="1" {band}>{named}{more}</VRTRasterBand>'
        "</VRTDataset>"
    )


def service(address: str) -> str:
    """Return the text of a service on the web."""
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}</ServerUrl></Service><DataWindow>'
        "<UpperLeftX>0</UpperLeftX><UpperLeftY>40</UpperLeftY><LowerRightX>50</LowerRightX><LowerRightY>0</LowerRightY>"
        "<SizeX>50</SizeX><SizeY>40</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )


def read(path: str) -> np.ndarray:
    """Return what is read of an image, whole and from afar."""
    with image(path).open(("a",)) as raster:
        raster.reduced((10, 12))
        return raster.read(raster.grid.area).values


def labels(path: str, folder: Path) -> None:
    """Read labels of a good image."""
    with image(write_raster(folder / "good/a.tif", TALL)).open(("a",)) as raster:
        given = RasterLabels(kind="raster", path=path, values="ids")
        with given.open(raster.grid, legend(a=["1"], b=["2"]), "s") as pixels:
            pixels.class_ids(Window(0, 0, 4000, 50), all_touched=False)


def refused(path: str, folder: Path, *words: str) -> None:
    """Look that a path is one error as an image, and as labels."""
    for error, way in ((ImageError, lambda: read(path)), (LabelError, lambda: labels(path, folder))):
        with pytest.raises(error) as caught:
            way()
        told = str(caught.value)
        assert "\n  file: " in told
        assert len(told) < 5_000
        assert not [word for word in words if word not in told], told


def text(name: str, content: str) -> Callable[[Path, str], str]:
    return lambda folder, url: written(folder / name, content.replace("URL", url).replace("FOLDER", str(folder)))


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


OUTWARD = {
    "a link to another file": (
        "c-rgqaB<`1lHy|K;9!7(|4^_Q$~S=0Q$xeL{XJZQm>4RUgpd`&02dPjBLf4QC<6l{hXZ3G9|J>iYI0F(iC%^&gMK0dgFOSKVCwyt?*PltCBp"
    ),
    "values in another file": (
        "c-rgqaB<`1lHy|K;9!7(|4{Iq5yCfsiZ9I(_4W5~31VWXU=l)B2m@S93_vYxJPbgJF>y1@JP!t{fs~?DFR&AU7BH$XFfcJOGKxUu"
        "G@vv(pP7e&QGfyDCJ^9YU<JC8nTuTmXaZQ2kzqg7qa0|qDKJCDfxcyCg!vLC%22~FpkQzFy&w-)#{dvp0xAae2*Z6wRJHo4CCT~)"
        "iN(d`DPTST&Pz3d"
    ),
    "values of datasets of other files": (
        "c-rmNJqp4=5C!13yGBF&#Y*f1Yq9YF{-8kw!PY8hK(JE_YrEXQ$`jam5gX5=*|;mg%0dL;eGrCynS^1RiTuH^=+!;ty0GpBYR_}q"
        "<lQLBP5r@4VlS)dM$3~BK(>Imh~Q%X=i_UZn{b?r&^Yw+>+}O5nt+r-WK6GP>ibz0AS%!^YA&33YL$0Oai@a0h2-5Ce`S91uOK2K"
        "`oyR|og~Yyl3IK^w+%MfhKo(OYpps6pi;Re^;XrHl;#_eY+YR)^vd4t)p{)R&WVVKh=_=Ye(eG4KrpN"
    ),
    "a group in itself": (
        "c-rgqaB<`1lHy|K;9!7(|4?AY2;mz*#e2TZjq~?#31VWXU=l)B2m@S93_vYxJPbgJF?};sn;0tt3j-5~WzRq<IP2^Fffy(7f}Frq"
        "S^#r8gF6GYfc3#RSpbg)Hog"
    ),
}
"""HDF5, packed, that h5py wrote."""


def named(folder: Path, name: str, there: str) -> str:
    """Return a virtual raster of a name that is also that of a regular file."""
    Path(there).parent.mkdir(parents=True, exist_ok=True)
    written(Path(there), zlib.decompress(b85decode(HDF5)))
    return written(folder / "a.vrt", virtual(name))


def archive_or_folder(folder: Path) -> str:
    with zipfile.ZipFile(folder.parent / "a.zip", "w") as file:
        file.write(folder / "secret.tif", "a.tif")
    (folder / "a!").mkdir()
    written(folder / "a", b"1")
    return written(folder / "a.vrt", virtual(f"/vsizip/{folder}/a!/../../a.zip/a.tif"))


def spilled(folder: Path, pixels: str) -> str:
    """Return an ERDAS file, called without its folder, whose pixels lie in the file called ``pixels``."""
    stem = "a" * (len(pixels) - len(".ige"))
    rasterio.shutil.copy(folder / "secret.tif", folder / f"{stem}.img", driver="HFA", USE_SPILL="YES")
    content = (folder / f"{stem}.img").read_bytes()
    assert f"{stem}.ige".encode() in content
    Path(f"{stem}.ige").rename(folder / "in/a.ige")
    written(folder / f"{stem}.img", content.replace(f"{stem}.ige".encode(), pixels.encode()))
    return f"{stem}.img"


HDF5 = (
    "c-rgqaB<`1lHy|K;9!7(|4_gN6*7Q|U*VV7<?rDV#Kcg+B!sLG2Dq3Q7#SGYco={bW8!9*c^(W@11UwRUSKBxEnrk(U|?cmWMqQM"
    "F+*u|J~IykqW}ZQO(4L*zzTFFGZzQY2h5BNP%pB<ELg!XWWbqiz1$3=U=)mkQ7{Td0Xcw?iJ66!4FHXHB<T"
)
"""HDF5, packed, of a dataset a."""

WMS = service("URL")
STAC = '{"type":"FeatureCollection","stac_version":"1.0.0","features":[{"type":"Feature","stac_version":"1.0.0",'
STAC += '"stac_extensions":["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],"properties":'
STAC += '{"proj:epsg":32633,"proj:transform":[10,0,0,0,-10,0]},"assets":{"a":{"href":"URL"}}}]}'

REACHING: dict[str, Callable[[Path, str], str]] = {
    "a tif that is a virtual raster of a file on the web": text("a.tif", virtual("/vsicurl/URL")),
    "a tif that is a virtual raster of a file here": text("a.tif", virtual("FOLDER/secret.tif")),
    "a tif that is a service": text("a.tif", WMS),
    "a png that is a service": text("a.png", WMS),
    "a tif that is a service of tiles": text("a.tif", WMS.replace("TMS", "TiledWMS")),
    "a tif that is a coverage": text(
        "a.tif", "<WCS_GDAL><ServiceURL>URL?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>"
    ),
    "a tif that is WMTS": text("a.tif", "<GDAL_WMTS><GetCapabilitiesUrl>URL</GetCapabilitiesUrl></GDAL_WMTS>"),
    "a tif that is the answer of a WMTS": text("a.tif", '<Capabilities xmlns="http://www.opengis.net/wmts/1.0"/>'),
    "a json of items": text("a.json", STAC),
    "a tif of items": text("a.tif", STAC),
    "a service called as one": text("a.wms", WMS),
    "a service called xml": text("a.xml", WMS),
    "a service called vrt": text("a.vrt", WMS),
    "an MRF that fetches": text(
        "a.mrf",
        '<MRF_META><CachedSource><Source>URL</Source></CachedSource><Raster><Size x="50" y="40"/></Raster></MRF_META>',
    ),
    "the name of a service": lambda _, url: f"WMS:{url}",
    "the name of a coverage": lambda _, url: f"WCS:{url}?coverage=a",
    "the name of a WMTS": lambda _, url: f"WMTS:{url}",
    "the name of items": lambda _, url: f'STACIT:"{url}":asset=a',
    "the name of tiles": lambda _, url: f"STACTA:{url}",
    "the name of an API": lambda _, url: f"OGCAPI:{url}",
    "the name of an array in memory": lambda _, __: "MEM:::DATAPOINTER=4096,PIXELS=50,LINES=40,BANDS=1,DATATYPE=Byte",
    "the name of a database": lambda _, __: "PG:host=127.0.0.1 dbname=a table=b",
    "the name of a store": lambda _, url: f'ZARR:"/vsicurl/{url}"',
    "the name of Earth Engine's": lambda _, __: "EEDAI:image",
    "the name of Airbus' store": lambda _, url: f"DAAS:{url}",
    "the name of planets": lambda _, __: "PLMosaic:api_key=a,mosaic=b",
    "text of a virtual raster as a name": lambda _, url: virtual(f"/vsicurl/{url}"),
    "text of a service as a name": lambda _, url: service(url),
    "another way to name a virtual raster": lambda folder, _: f"vrt://{folder}/secret.tif?bands=1",
    "a variable on the web": lambda _, url: f'NETCDF:"{url}":a',
    "a page on the web": lambda _, url: f"GTIFF_DIR:1:/vsicurl/{url}",
    "a dataset on the web": lambda _, url: f'HDF5:"/vsicurl/{url}"://a',
    "options of a request": lambda _, url: f"/vsicurl?url={url}",
    "memory": lambda _, __: "/vsimem/a.tif",
    "standard input": lambda _, __: "/vsistdin/",
    "a piece of a file": lambda folder, _: f"/vsisubfile/0_100,{folder}/secret.tif",
    "pieces of files": lambda folder, _: f"/vsisparse/{folder}/secret.tif",
    "a cipher": lambda folder, _: f"/vsicrypt/key=a,file={folder}/secret.tif",
    "a cache of the web": lambda _, url: f"/vsicached?file=/vsicurl/{url}",
    "a scheme that is none": lambda _, __: "ftp://127.0.0.1/a.tif",
    "a file and a layer": lambda folder, _: f"{folder}/secret.tif|layername=a",
    "a virtual raster of one on the web": text("a.vrt", virtual("/vsicurl/URL")),
    "a virtual raster of an address": text("a.vrt", virtual("URL")),
    "a virtual raster of an archive on the web": text("a.vrt", virtual("/vsizip//vsicurl/URL/a.zip/a.tif")),
    "a virtual raster of a service's name": text("a.vrt", virtual("WMS:URL")),
    "a virtual raster of a service's text": text("a.vrt", virtual(WMS)),
    "a virtual raster of a virtual raster's text": text("a.vrt", virtual(virtual("/vsicurl/URL"))),
    "a virtual raster of a bucket": text("a.vrt", virtual("s3://bucket/a.tif")),
    "a virtual raster of a file elsewhere": text("a.vrt", virtual("FOLDER/../secret.tif")),
    "a virtual raster of /etc": text("a.vrt", virtual("/etc/hostname")),
    "a virtual raster of a device": text("a.vrt", virtual("/dev/zero")),
    "a virtual raster of a folder": text("a.vrt", virtual("FOLDER")),
    "a virtual raster that climbs": text("a.vrt", virtual("../secret.tif", relative=1)),
    "a virtual raster of none": text("a.vrt", virtual("gone.tif", relative=1)),
    "a virtual raster of itself": text("a.vrt", virtual("a.vrt", relative=1)),
    "a virtual raster that is warped on the web": text(
        "a.vrt",
        f'<VRTDataset {SIZE} subClass="VRTWarpedDataset"><GDALWarpOptions><SourceDataset>/vsicurl/URL</SourceDataset>'
        "</GDALWarpOptions></VRTDataset>",
    ),
    "a virtual raster placed by files on the web": text(
        "a.vrt",
        virtual().replace(PLACE, '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/vsicurl/URL</MDI></Metadata>'),
    ),
    "a virtual raster of raw bytes": text(
        "a.vrt", virtual(band='subClass="VRTRawRasterBand"', more="<SourceFilename>/etc/passwd</SourceFilename>")
    ),
    "a virtual raster that runs Python": text(
        "a.vrt",
        virtual(
            "FOLDER/secret.tif",
            band='subClass="VRTDerivedRasterBand"',
            more="<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType>"
            "<PixelFunctionCode>import os</PixelFunctionCode>",
        ),
    ),
    "a virtual raster in small letters": text("a.vrt", virtual("/vsicurl/URL").lower().replace("url", "URL")),
    "a virtual raster with a name as an attribute": text(
        "a.vrt", virtual(more='<SimpleSource SourceFilename="/vsicurl/URL"/>')
    ),
    "a virtual raster with a name in pieces": text(
        "a.vrt", virtual("FOLDER/secret.tif").replace("FOLDER", "/vsicurl/URL<!-- x -->FOLDER")
    ),
    "a virtual raster with a name of blanks": text("a.vrt", virtual("  /vsicurl/URL")),
    "a virtual raster in a namespace": text(
        "a.vrt", virtual("/vsicurl/URL").replace(" raster", ' xmlns="x" raster', 1)
    ),
    "a virtual raster with entities": text("a.vrt", '<!DOCTYPE a [<!ENTITY b "c">]>' + virtual("&b;")),
    "a virtual raster of another root": text("a.vrt", virtual("FOLDER/secret.tif", more="<x ROOT_PATH='/'/>")[:-1]),
    "a virtual raster of many dimensions": text(
        "a.vrt", '<VRTDataset><Group name="/"><Array name="a"/></Group></VRTDataset>'
    ),
    "a virtual raster that is processed": text(
        "a.vrt", '<VRTDataset subClass="VRTProcessedDataset"><Input/><ProcessingSteps/></VRTDataset>'
    ),
    "a virtual raster of an archive with an exclamation mark": lambda folder, _: archive_or_folder(folder),
    "a virtual raster of a drive": lambda folder, _: named(folder, "HDF5:c:/../../secret.h5://a", "c"),
    "a virtual raster of an address that is a folder, too": lambda folder, url: named(folder, f'NETCDF:"{url}":a', url),
    "a virtual raster of 4 million tags": text("a.vrt", f"<VRTDataset {SIZE}>{'<a/>' * (1 << 22)}</VRTDataset>"),
    "a virtual raster bent by 12,000 points": text(
        "a.vrt",
        f'<VRTDataset {SIZE} subClass="VRTWarpedDataset"><GDALWarpOptions><SourceDataset>FOLDER/in/secret.tif'
        "</SourceDataset><Transformer><GenImgProjTransformer><SrcTPSTransformer><TPSTransformer><GCPList>"
        f"{'<GCP/>' * 12_000}</GCPList></TPSTransformer></SrcTPSTransformer></GenImgProjTransformer></Transformer>"
        "</GDALWarpOptions></VRTDataset>",
    ),
    "an ERDAS file of pixels on the web": lambda folder, url: spilled(folder, f"/vsicurl/{url}"),
    "an ERDAS file of pixels elsewhere": lambda folder, _: spilled(folder, "../in/a.ige"),
    **{
        f"HDF5 called {ending} of {what}": lambda folder, _, ending=ending, what=what: written(
            folder / f"a.{ending}", zlib.decompress(b85decode(OUTWARD[what]))
        )
        for ending in ("h5", "nc")
        for what in OUTWARD
    },
    "a virtual raster of noise": text("a.vrt", "\0\1\2"),
    "a virtual raster with a kernel of 9999 px": text(
        "a.vrt",
        virtual(
            "FOLDER/in/secret.tif",
            kind="KernelFilteredSource",
        ).replace("<SrcRect", "<Kernel><Size>9999</Size><Coefs>1</Coefs></Kernel><SrcRect"),
    ),
    "a DIMAP of a file on the web": text(
        "a.xml",
        "<Dimap_Document><Raster_Dimensions><NCOLS>50</NCOLS><NROWS>40</NROWS><NBANDS>1</NBANDS></Raster_Dimensions>"
        '<Data_Access><Data_File><DATA_FILE_PATH href="/vsicurl/URL"/></Data_File></Data_Access></Dimap_Document>',
    ),
}


@pytest.mark.parametrize("make", REACHING.values(), ids=REACHING)
def test_what_leads_elsewhere_is_one_error_and_nobody_is_asked(
    tmp_path: Path, make: Callable[[Path, str], str], listening: tuple[str, list[object]]
) -> None:
    folder = tmp_path / "project/data"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent, folder / "in"):
        write_raster(place / "secret.tif", PIXELS)
    os.chdir(folder)
    path = make(folder, listening[0])
    refused(path, folder)
    assert listening[1] == []


def sidecar(name: str, content: str) -> Callable[[Path, str], str]:
    def make(folder: Path, url: str) -> str:
        written(folder / name, content.replace("URL", url).replace("FOLDER", str(folder)))
        return str(write_raster(folder / "a.tif", PIXELS))

    return make


def tagged(folder: Path, overviews: str) -> str:
    path = write_raster(folder / "a.tif", PIXELS)
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=overviews)
    return str(path)


def archived(folder: Path, url: str) -> str:
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.write(write_raster(folder / "in.tif", PIXELS), "a.tif")
        file.writestr("a.tif.msk", virtual(f"/vsicurl/{url}"))
    return f"/vsizip/{folder}/a.zip/a.tif"


def two_formats(folder: Path, url: str) -> str:
    """Return a virtual raster that a header beside it makes pixels of."""
    header = (
        "ENVI\nsamples = 5\nlines = 4\nbands = 1\nheader offset = 0\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
    )
    written(folder / "a.hdr", header)
    return written(folder / "a.img", virtual(f"/vsicurl/{url}"))


def nested(folder: Path, url: str) -> str:
    """Return an image whose mask, a TIFF, has overviews that aren't."""
    write_raster(folder / "a.tif.msk", PIXELS)
    written(folder / "a.tif.msk.ovr", virtual(f"/vsicurl/{url}"))
    return str(write_raster(folder / "a.tif", PIXELS))


BESIDE: dict[str, Callable[[Path, str], str]] = {
    "a mask that is a virtual raster": sidecar("a.tif.msk", virtual("/vsicurl/URL")),
    "a mask that is a service": sidecar("a.tif.msk", WMS),
    "overviews that are a virtual raster": sidecar("a.tif.ovr", virtual("/vsicurl/URL")),
    "overviews that are a service": sidecar("a.tif.ovr", WMS),
    "a mask in capitals": sidecar("a.tif.MSK", WMS),
    "overviews of a mask": nested,
    "a mask in an archive": archived,
    "overviews elsewhere, as told beside it": sidecar(
        "a.tif.aux.xml",
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/URL</MDI></Metadata></PAMDataset>',
    ),
    "overviews at an address, as told by its tags": lambda folder, url: tagged(folder, f"/vsicurl/{url}"),
    "overviews of a service, as told by its tags": lambda folder, url: tagged(folder, service(url)),
    "overviews in a file, as told by its tags": lambda folder, _: tagged(folder, "/etc/hostname"),
    "a virtual raster and ENVI": two_formats,
}


@pytest.mark.parametrize("make", BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_an_image_leads_nowhere(
    tmp_path: Path, make: Callable[[Path, str], str], listening: tuple[str, list[object]]
) -> None:
    refused(make(tmp_path, listening[0]), tmp_path)
    assert listening[1] == []


def test_beside_labels_elsewhere_nothing_is_looked_for(tmp_path: Path, listening: tuple[str, list[object]]) -> None:
    write_raster(tmp_path / "web/a.tif", TALL)
    written(tmp_path / "web/a.tif.msk", virtual(f"/vsicurl/{listening[0]}"))
    with served(tmp_path / "web") as web:
        labels(f"{web.url}/a.tif", tmp_path)
    assert {path for path, _ in web.asked} == {"/a.tif"}
    assert listening[1] == []


def piped(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def linked(path: Path, to: str) -> str:
    path.symlink_to(to)
    return str(path)


def listened(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # relative: such names are short
    return str(path)


def sliced(folder: Path, start: int, end: int | None, **profile: object) -> str:
    whole = write_raster(folder / "whole.tif", TALL, **profile).read_bytes()
    return written(folder / "a.tif", whole[start:end])


def garbled(folder: Path, **profile: object) -> str:
    content = bytearray(write_raster(folder / "a.tif", TALL, **profile).read_bytes())
    content[-3000:-200] = bytes(255 - value for value in content[-3000:-200])
    return written(folder / "a.tif", bytes(content))


def tiff(path: Path, *, big: bool = False, **tags: tuple[int, int]) -> str:
    """Write a TIFF of nothing but tags, given as (type, value); those of a small one are there."""
    numbers = {"width": 256, "height": 257, "bits": 258, "packed": 259, "colour": 262, "offsets": 273, "samples": 277}
    numbers |= {
        "rows": 278,
        "counts": 279,
        "tile_width": 322,
        "tile_height": 323,
        "tile_offsets": 324,
        "tile_counts": 325,
    }
    given = {"bits": (3, 8), "packed": (3, 1), "colour": (3, 1), "samples": (3, 1), **tags}
    entries = b"".join(
        struct.pack("<HHIi" if not big else "<HHQq", numbers[name], kind, 1, value)
        for name, (kind, value) in sorted(given.items(), key=lambda item: numbers[item[0]])
    )
    start = (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(given)) if big else b"II*\0" + struct.pack("<IH", 8, len(given))
    )
    return written(path, start + entries + bytes(8))


def sparse(path: Path, side: int, block: int = 512, count: int = 1, dtype: str = "uint8", **more: object) -> str:
    options = {"width": side, "height": side, "count": count, "dtype": dtype, "crs": UTM, **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", tiled=True, blockxsize=block, blockysize=block, sparse_ok=True, **options
        ):
            pass
    return str(path)


def blank(width: int, height: int) -> Callable[[Path], str]:
    """Return a maker of a virtual raster without sources."""
    size = f'rasterXSize="{width}" rasterYSize="{height}"'
    return lambda folder: written(
        folder / "a.vrt",
        f'<VRTDataset {size}>{PLACE}<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>',
    )


def chain(folder: Path, levels: int, times: int) -> str:
    """Return virtual rasters of each other, each of which takes the next several times."""
    write_raster(folder / "0.tif", PIXELS)
    for level in range(1, levels + 1):
        below = "0.tif" if level == 1 else f"{level - 1}.vrt"
        written(folder / f"{level}.vrt", virtual(*[below] * times, relative=1))
    return str(folder / f"{levels}.vrt")


def ring(folder: Path) -> str:
    for number in range(3):
        written(folder / f"{number}.vrt", virtual(f"{(number + 1) % 3}.vrt", relative=1))
    return str(folder / "0.vrt")


def raw(folder: Path, samples: int, lines: int, kind: int = 1) -> str:
    written(
        folder / "a.hdr",
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = 1\ndata type = {kind}\ninterleave = bsq\n",
    )
    return written(folder / "a.img", bytes(2000))


def headed(folder: Path, driver: str, after: bytes, at: int, form: str, *size: int) -> str:
    """Return a file of a format with another size in its header."""
    content = bytearray(Path(copied(folder, "a.bin", driver)).read_bytes())
    struct.pack_into(form, content, content.index(after) + at, *size)
    if driver == "PNG":
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return written(folder / "b.bin", bytes(content))


def zipped_bytes(folder: Path, name: str) -> str:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, bytes(1 << 24))
    return f"/vsizip/{folder}/a.zip/{name}"


ENDLESS: dict[str, Callable[[Path], str]] = {
    "a pipe": lambda folder: piped(folder / "a.tif"),
    "a pipe called vrt": lambda folder: piped(folder / "a.vrt"),
    "a pipe called xml": lambda folder: piped(folder / "a.xml"),
    "a device": lambda folder: linked(folder / "a.tif", "/dev/zero"),
    "a device by its name": lambda _: "/dev/zero",
    "random bytes without end": lambda _: "/dev/urandom",
    "a variable of a device": lambda _: 'NETCDF:"/dev/zero":a',
    "a page of a pipe": lambda folder: f"GTIFF_DIR:1:{piped(folder / 'a.tif')}",
    "an archive that is a pipe": lambda folder: f"/vsizip/{piped(folder / 'a.zip')}/a.tif",
    "an archive that is a device": lambda _: "zip:///dev/zero!a.tif",
    "a socket": lambda folder: listened(folder / "a.tif"),
    "a folder": str,
    "a file of the system that is none": lambda _: "/proc/self/mem",
    "an archive of 16 MB of zeros": lambda folder: zipped_bytes(folder, "a.tif"),
    "a name with a zero byte": lambda _: "a\0b.tif",
    "a link to itself": lambda folder: linked(folder / "a.tif", "a.tif"),
    "no bytes": lambda folder: written(folder / "a.tif", b""),
    "no more than a signature": lambda folder: written(folder / "a.tif", b"II*\0"),
    "a directory of tags in itself": lambda folder: written(folder / "a.tif", b"II*\0" + struct.pack("<IHI", 8, 0, 8)),
    "a directory of 65535 tags": lambda folder: written(folder / "a.tif", b"II*\0" + struct.pack("<IH", 8, 65535)),
    "noise": lambda folder: written(folder / "a.tif", np.random.default_rng(0).bytes(9000)),
    "noise behind a signature": lambda folder: written(
        folder / "a.tif", b"II*\0" + np.random.default_rng(0).bytes(9000)
    ),
    "noise behind that of PNG": lambda folder: written(folder / "a.png", b"\x89PNG\r\n\x1a\n" + bytes(9000)),
    "noise behind that of JPEG": lambda folder: written(folder / "a.jpg", b"\xff\xd8\xff\xe0" + bytes(9000)),
    "noise behind that of JPEG 2000": lambda folder: written(
        folder / "a.jp2", bytes.fromhex("0000000c6a5020200d0a870a") + b"ftypjp2 " + bytes(9000)
    ),
    "noise behind that of HDF5": lambda folder: written(folder / "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(9000)),
    "noise behind that of netCDF": lambda folder: written(folder / "a.nc", b"CDF\1" + b"\xff" * 9000),
    "noise behind that of GRIB": lambda folder: written(folder / "a.grb", b"GRIB\xff\xff\xff\2" + b"\xff" * 9000),
    "noise behind that of ERDAS": lambda folder: written(folder / "a.img", b"EHFA_HEADER_TAG\0" + b"\xff" * 9000),
    "the first half": lambda folder: sliced(folder, 0, 8000),
    "all but its last tile": lambda folder: sliced(folder, 0, -300, tiled=True, blockxsize=16, blockysize=16),
    "all but its beginning": lambda folder: sliced(folder, 100, None),
    "a deflated strip that is garbled": lambda folder: garbled(folder, compress="deflate"),
    "an LZW strip that is garbled": lambda folder: garbled(folder, compress="lzw"),
    "a tile that is garbled": lambda folder: garbled(
        folder, compress="deflate", tiled=True, blockxsize=16, blockysize=16
    ),
    "a ZSTD strip that is garbled": lambda folder: garbled(folder, compress="zstd"),
    "10^9 px each way": lambda folder: tiff(
        folder / "a.tif", width=(4, 10**9), height=(4, 10**9), rows=(4, 1), offsets=(4, 8), counts=(4, 8)
    ),
    "10^9 px each way in one strip": lambda folder: tiff(
        folder / "a.tif", width=(4, 10**9), height=(4, 10**9), rows=(4, 10**9), offsets=(4, 8), counts=(4, 8)
    ),
    "10^9 px each way in tiles": lambda folder: tiff(
        folder / "a.tif",
        width=(4, 10**9),
        height=(4, 10**9),
        tile_width=(4, 2**16),
        tile_height=(4, 2**15),
        tile_offsets=(4, 0),
        tile_counts=(4, 0),
    ),
    "10^9 px each way of a large TIFF": lambda folder: tiff(
        folder / "a.tif",
        big=True,
        width=(4, 10**9),
        height=(4, 10**9),
        tile_width=(4, 2**14),
        tile_height=(4, 2**14),
        tile_offsets=(16, 0),
        tile_counts=(16, 0),
    ),
    "10^9 rows of one px": lambda folder: tiff(
        folder / "a.tif", width=(4, 1), height=(4, 10**9), rows=(4, 10**9), offsets=(4, 8), counts=(4, 8)
    ),
    "tiles of 2^31 px": lambda folder: tiff(
        folder / "a.tif",
        width=(4, 50),
        height=(4, 40),
        tile_width=(4, 2**20),
        tile_height=(4, 2**11),
        tile_offsets=(4, 0),
        tile_counts=(4, 0),
    ),
    "tiles of 2^30 px": lambda folder: tiff(
        folder / "a.tif",
        width=(4, 50),
        height=(4, 40),
        tile_width=(4, 2**15),
        tile_height=(4, 2**15),
        tile_offsets=(4, 0),
        tile_counts=(4, 0),
    ),
    "65535 bands": lambda folder: tiff(
        folder / "a.tif",
        width=(4, 5),
        height=(4, 4),
        samples=(3, -1 & 0x7FFF),
        rows=(4, 4),
        offsets=(4, 8),
        counts=(4, 8),
    ),
    "no rows": lambda folder: tiff(
        folder / "a.tif", width=(4, 50), height=(4, 0), rows=(4, 1), offsets=(4, 8), counts=(4, 8)
    ),
    "bits that are none": lambda folder: tiff(
        folder / "a.tif", width=(4, 50), height=(4, 40), bits=(3, 77), rows=(4, 40), offsets=(4, 8), counts=(4, 8)
    ),
    "a packing that is none": lambda folder: tiff(
        folder / "a.tif", width=(4, 50), height=(4, 40), packed=(3, 999), rows=(4, 40), offsets=(4, 8), counts=(4, 8)
    ),
    "200000 px each way in 4096": lambda folder: sparse(folder / "a.tif", 200_000, 4096),
    "66000 px each way, in 16384": lambda folder: sparse(folder / "a.tif", 66_000, 16384),
    "2^29 px 8 times": lambda folder: sparse(folder / "a.tif", 23_171, 4096, 8),
    "overviews of 2^30 px a tile": lambda folder: (
        tiff(
            folder / "a.tif.ovr",
            width=(4, 25),
            height=(4, 20),
            tile_width=(4, 2**15),
            tile_height=(4, 2**15),
            tile_offsets=(4, 0),
            tile_counts=(4, 0),
        )
        and str(write_raster(folder / "a.tif", PIXELS))
    ),
    "a virtual raster of 2^31 px each way": blank(2**31 - 1, 2**31 - 1),
    "a virtual raster of 200000 px each way": blank(200_000, 200_000),
    "a virtual raster of 2^31 px in a row": blank(2**31 - 1, 1),
    "a virtual raster of no px": blank(0, 0),
    "a PNM of 10^9 px each way": lambda folder: written(
        folder / "a.pgm", b"P5\n1000000000 1000000000\n255\n" + bytes(99)
    ),
    "a grid of text of 10^9 px each way": lambda folder: written(
        folder / "a.asc", "ncols 1000000000\nnrows 1000000000\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3\n"
    ),
    "a grid of text that ends at once": lambda folder: written(
        folder / "a.asc", "ncols 4000000\nnrows 500\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3\n"
    ),
    "a PNG of 2^31 px each way": lambda folder: headed(folder, "PNG", b"IHDR", 4, ">II", 2**31 - 1, 2**31 - 1),
    "a PNG of 10^6 px each way": lambda folder: headed(folder, "PNG", b"IHDR", 4, ">II", 10**6, 10**6),
    "a JPEG of 65535 px each way": lambda folder: headed(folder, "JPEG", b"\xff\xc0", 5, ">HH", 65535, 65535),
    "a GIF of 65535 px each way": lambda folder: headed(folder, "GIF", b"GIF8", 6, "<HH", 65535, 65535),
    "a JPEG 2000 of 2^32 px each way": lambda folder: headed(
        folder, "JP2OpenJPEG", b"\xff\x51", 6, ">II", 2**32 - 1, 2**32 - 1
    ),
    "a BMP of 2^31 px each way": lambda folder: headed(folder, "BMP", b"BM", 18, "<II", 2**31 - 1, 2**31 - 1),
    "virtual rasters in a ring": ring,
    "virtual rasters of each other, 20 times": lambda folder: chain(folder, 20, 1),
    "virtual rasters of each other, 10^10 times": lambda folder: chain(folder, 5, 100),
    "pixels of ENVI, 10^9 each way": lambda folder: raw(folder, 10**9, 10**9),
    "pixels of ENVI, 200000 each way": lambda folder: raw(folder, 200_000, 200_000),
    "pixels of ENVI of a negative size": lambda folder: raw(folder, -50, 40),
    "pixels of ENVI of a type that is none": lambda folder: raw(folder, 50, 40, 99),
    "a transform of 1e300": lambda folder: str(
        write_raster(folder / "a.tif", PIXELS, rasterio.Affine(1e300, 0, 1e300, 0, -1e300, 1e300))
    ),
    "a transform of no width": lambda folder: placed(folder, "330000, 0, 0, 5822040, 0, -10"),
    "a transform that is no number": lambda folder: placed(folder, "nan, nan, nan, nan, nan, nan"),
}


def placed(folder: Path, transform: str) -> str:
    text = virtual("a.tif", relative=1).replace("330000, 10, 0, 5822040, 0, -10", transform)
    write_raster(folder / "a.tif", PIXELS)
    return written(folder / "a.vrt", text)


@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_damaged_or_claims_too_much_is_one_error(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    refused(make(tmp_path), tmp_path)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_numbers_are_one_error(tmp_path: Path, dtype: str) -> None:
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=50, height=40, count=1, dtype=dtype, crs=UTM):
        pass
    refused(str(tmp_path / "a.tif"), tmp_path)


def test_a_palette_of_colours_that_labels_do_not_have_is_one_error(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {255: (9, 9, 9, 255)})
    with image(write_raster(tmp_path / "b.tif", PIXELS)).open(("a",)) as raster:
        given = RasterLabels(kind="raster", path=str(path), values="colors")
        with (
            pytest.raises(LabelError, match="no class lists"),
            given.open(raster.grid, legend(a=["#0000ff"], b=["#090909"]), "s") as pixels,
        ):
            pixels.class_ids(Window(0, 0, 40, 50), all_touched=False)


def good_zip(folder: Path, name: str) -> str:
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.write(write_raster(folder / "in.tif", PIXELS), "a.tif")
    return name.replace("FOLDER", str(folder))


def copied(folder: Path, name: str, driver: str, **options: object) -> str:
    rasterio.shutil.copy(write_raster(folder / "in.tif", PIXELS), folder / name, driver=driver, **options)
    return str(folder / name)


RIGHT: dict[str, Callable[[Path], str]] = {
    "a tif": lambda folder: str(write_raster(folder / "a.tif", PIXELS)),
    "a tif called otherwise": lambda folder: str(write_raster(folder / "a.vrt.bin", PIXELS)),
    "a tif with a colon in its name": lambda folder: write_raster(folder / "NETCDF:a.tif", PIXELS).name,
    "a file's address": lambda folder: f"file://{write_raster(folder / 'a.tif', PIXELS)}",
    "a linked file": lambda folder: linked(folder / "b.tif", str(write_raster(folder / "a.tif", PIXELS))),
    "a page": lambda folder: f"GTIFF_DIR:1:{write_raster(folder / 'a.tif', PIXELS)}",
    "a file in an archive": lambda folder: good_zip(folder, "/vsizip/FOLDER/a.zip/a.tif"),
    "a file in an archive, by its address": lambda folder: good_zip(folder, "zip://FOLDER/a.zip!a.tif"),
    "a COG": lambda folder: copied(folder, "a.tif", "COG"),
    "a PNG": lambda folder: copied(folder, "a.png", "PNG"),
    "a JPEG 2000": lambda folder: copied(folder, "a.jp2", "JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES"),
    "an ERDAS": lambda folder: copied(folder, "a.img", "HFA"),
    "an ENVI": lambda folder: copied(folder, "a.bin", "ENVI"),
    "an EHdr": lambda folder: copied(folder, "a.bil", "EHdr"),
    "a grid of text": lambda folder: copied(folder, "a.asc", "AAIGrid"),
    "a netCDF": lambda folder: copied(folder, "a.nc", "netCDF"),
    "an NITF": lambda folder: copied(folder, "a.ntf", "NITF"),
    "a virtual raster": lambda folder: copied(folder, "a.vrt", "VRT"),
    "virtual rasters of each other": lambda folder: chain(folder, 5, 2),
    "a virtual raster of a page": lambda folder: written(
        folder / "a.vrt", virtual(f"GTIFF_DIR:1:{write_raster(folder / 'a.tif', PIXELS).name}", relative=1)
    ),
    "a virtual raster above its images": lambda folder: written(
        folder / "a.vrt", virtual(f"in/{write_raster(folder / 'in/a.tif', PIXELS).name}", relative=1)
    ),
    "a DIMAP": lambda folder: (
        str(write_raster(folder / "a.tif", PIXELS))
        and written(
            folder / "PRODUCT.XML",
            '<Dimap_Document><Metadata_Id><METADATA_FORMAT version="1.1">DIMAP</METADATA_FORMAT></Metadata_Id>'
            "<Raster_Dimensions><NCOLS>50</NCOLS><NROWS>40</NROWS><NBANDS>1</NBANDS></Raster_Dimensions><Data_Access>"
            '<Data_File><DATA_FILE_PATH href="a.tif"/></Data_File></Data_Access></Dimap_Document>',
        )
    ),
    "a virtual raster with a comment": lambda folder: written(
        folder / "a.vrt",
        "<!-- mine -->" + virtual(str(write_raster(folder / "a.tif", PIXELS))),
    ),
}


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_honest_files_are_read_as_they_are(tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = make(tmp_path)
    np.testing.assert_array_equal(read(path), PIXELS)
    labels(path, tmp_path)


def test_a_large_sparse_file_of_blocks_that_hold_something_is_read(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 40_000, 512)  # 1.6 · 10^9 px in 100 kB
    with image(path).open(("a",)) as raster:
        window = Window(20_000, 30_000, 64, 64)
        assert raster.grid.shape == (40_000, 40_000)
        np.testing.assert_array_equal(raster.read(window).values, np.zeros((1, 64, 64)))


def test_a_virtual_raster_of_itself_changes_nothing_of_what_is_read_next(tmp_path: Path) -> None:
    own = written(tmp_path / "own.vrt", virtual("own.vrt", relative=1))
    with pytest.raises(ImageError, match=r"without end(.|\n)*got: own.vrt → own.vrt\n"):
        read(own)
    lacking = written(tmp_path / "a.vrt", virtual("gone.tif", relative=1))
    with pytest.raises(ImageError, match=r"missing(.|\n)*gone\.tif"):
        read(lacking)


CYCLES: dict[str, tuple[str, str, str]] = {
    "each other": ("b.vrt", "a.vrt", "a.vrt → b.vrt → a.vrt"),
    "each other by folders": ("../in/b.vrt", "./../in/./a.vrt", "a.vrt → b.vrt → a.vrt"),
    "each other by a link": ("b.vrt", "link.vrt", "a.vrt → b.vrt → link.vrt"),
    "each other by a link to their folder": ("b.vrt", "here/a.vrt", "a.vrt → b.vrt → here/a.vrt"),
    "its second in a circle": ("b.vrt", "b.vrt", "a.vrt → b.vrt → b.vrt"),
}


@pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)
def test_virtual_rasters_of_each_other_are_one_error_that_names_the_chain(
    tmp_path: Path, cycle: tuple[str, str, str]
) -> None:
    first, second, chain = cycle
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.vrt").symlink_to("a.vrt")
    (folder / "here").symlink_to(".")
    path = written(folder / "a.vrt", virtual(first, relative=1))
    written(folder / "b.vrt", virtual(second, relative=1))
    with pytest.raises(ImageError) as caught:
        read(path)
    assert caught.value.got == chain
    assert caught.value.file == path


@pytest.mark.parametrize("relative", [0, 1])
def test_a_name_that_leaves_a_linked_folder_is_not_another_file_than_was_checked(tmp_path: Path, relative: int) -> None:
    """The system follows the link before it goes up; a path as text does not."""
    for folder in ("in", "other/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "in/link").symlink_to("../other/deep")
    write_raster(tmp_path / "in/x.tif", PIXELS)
    written(tmp_path / "other/x.tif", virtual("../in/a.vrt", relative=1))
    name = "link/../x.tif" if relative else f"{tmp_path}/in/link/../x.tif"
    path = written(tmp_path / "in/a.vrt", virtual(name, relative=relative))
    with pytest.raises(ImageError, match="leaves a folder that is a link"):
        read(path)


@pytest.mark.parametrize("name", ["file://FOLDER/{}.tif", "zip://FOLDER/a.zip!{}.tif", "/vsizip/FOLDER/a.zip/{}.tif"])
def test_files_side_by_side_are_read_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for one, left in (("a", 330_000), ("b", 330_500)):
            place = rasterio.Affine(10, 0, left, 0, -10, 5_822_040)
            file.write(write_raster(tmp_path / f"{one}.tif", PIXELS, place), f"{one}.tif")
    with image(tuple(name.format(one).replace("FOLDER", str(tmp_path)) for one in "ab")).open(("a",)) as raster:
        assert np.array_equal(raster.read(raster.grid.area).values, np.tile(PIXELS, 2))


@pytest.mark.parametrize("ending", ["h5", "nc"])
def test_hdf5_that_holds_its_own_values_is_read(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"a.{ending}", zlib.decompress(b85decode(HDF5)))
    assert read(path).sum() == sum(range(1, 7))


def test_the_rule_of_sizes_stands_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read(sparse(tmp_path / "a.tif", 200_000, 4096))
    told = str(caught.value)
    assert "at most 2147483648 values of all bands together, or 2000 for each byte" in told
    assert "got: 200000 × 200000 px of 1 bands in" in told


def test_faults_of_opening_name_the_hint(tmp_path: Path) -> None:
    with pytest.raises(QuadratError, match=r"its format is not supported(.|\n)*hint: .*gdalinfo"):
        read(written(tmp_path / "a.tif", service("http://127.0.0.1:9/")))
    with pytest.raises(QuadratError, match=r"a file outside the project(.|\n)*got: /etc/hostname(.|\n)*as a mosaic"):
        read(written(tmp_path / "a.vrt", virtual("/etc/hostname")))
