"""NHTSA's vPIC on loopback: decodes a few kinds of cars by its own reading of the rules, and fails on demand.

`python -m simulators.nhtsa --port 0` prints `listening on <port>`. `POST /_faults` with JSON sets what the
next answers are (see `Faults`); `GET /_requests` tells the VINs that were asked for.

Source: vPIC API page, DecodeVinValues and the variable "Error Code"; 49 CFR Part 565.
"""

import argparse
import asyncio
import re
import socket
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_WMI = {
    "1HG": "HONDA", "2HG": "HONDA", "JHM": "HONDA", "1FT": "FORD", "1FA": "FORD", "1GC": "CHEVROLET",
    "4T1": "TOYOTA", "JTM": "TOYOTA", "5NM": "HYUNDAI", "WBA": "BMW", "1M8": "MOTOR COACH INDUSTRIES",
}  # fmt: skip
# By positions 1 to 8: model, trim, body, vehicle type.
_KINDS = {
    "1HGCM826": ("Accord", "EX-V6", "Coupe", "PASSENGER CAR"),
    "2HGFC2F5": ("Civic", "LX", "Sedan/Saloon", "PASSENGER CAR"),
    "2HGFE2F5": ("Civic", "Sport", "Sedan/Saloon", "PASSENGER CAR"),
    "JHMCM565": ("Accord", "", "Sedan/Saloon", "PASSENGER CAR"),
    "1FTFW1E5": ("F-150", "XLT", "Pickup", "TRUCK"),
    "4T1G11AK": ("Camry", "SE", "Sedan/Saloon", "PASSENGER CAR"),
    "JTMRWRFV": ("RAV4", "", "Sport Utility Vehicle [SUV]/Multi-Purpose Vehicle [MPV]",
                 "MULTIPURPOSE PASSENGER VEHICLE (MPV)"),
    "1GCUYDED": ("Silverado", "LT", "Pickup", "TRUCK"),
}  # fmt: skip
_KEYS = (
    "AdditionalErrorText", "SuggestedVIN", "PossibleValues", "Make", "MakeID", "Model", "ModelID",
    "ModelYear", "Series", "Series2", "Trim", "Trim2", "BodyClass", "VehicleType", "Doors", "DriveType",
    "EngineCylinders", "EngineModel", "DisplacementL", "EngineHP", "FuelTypePrimary", "TransmissionStyle",
    "TransmissionSpeeds", "GVWR", "Manufacturer", "ManufacturerId", "PlantCity", "PlantState",
    "PlantCountry", "ElectrificationLevel", "BedType",
)  # fmt: skip
_TEXTS = {
    0: "VIN decoded clean. Check Digit (9th position) is correct",
    1: "Check Digit (9th position) does not calculate properly",
    6: "Incomplete VIN",
    7: "Manufacturer is not registered with NHTSA for sale or importation in the U.S. for use on U.S roads",
    8: "No detailed data available currently",
    11: "Incorrect Model Year, decoded data may not be accurate",
    14: "Unable to provide information for some of the characters in the VIN",
    400: "Invalid Characters Present",
}
_YEAR_CODES = "ABCDEFGHJKLMNPRSTVWXY123456789"
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_ROWS = ("0", "1AJ", "2BKS", "3CLT", "4DMU", "5ENV", "6FW", "7GPX", "8HY", "9RZ")
_MESSAGE = (
    "Results returned successfully. NOTE: Any missing decoded values should be interpreted as NHTSA does not "
    "have data on the specific variable."
)


def vin(serial: int) -> str:
    """A valid VIN of a Honda Accord, of another kind for each of 1980 serial numbers: answers are cached by kind."""
    kinds, years, plants = ("1HGCM826", "JHMCM565"), _YEAR_CODES, "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    rest, kind = divmod(serial, len(kinds))
    rest, year = divmod(rest, len(years))
    unchecked = f"{kinds[kind]}0{years[year]}{plants[rest % len(plants)]}{serial:06}"
    return unchecked[:8] + _check_digit(unchecked) + unchecked[9:]


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """What the next `times` answers are (-1: all). Several may be set; `delay_s` comes before the rest.

    `status` 403 comes with an HTML page, as from a traffic filter. `cut`: the connection ends in the body.
    """

    times: int = -1
    delay_s: float = 0.0
    status: int = 0
    cut: bool = False
    empty: bool = False
    missing: tuple[str, ...] = ()
    nulls: bool = False


class _State:
    """The faults that are set, and what was asked for."""

    def __init__(self) -> None:
        self.faults = Faults(times=0)
        self.asked: list[str] = []

    def take(self) -> Faults:
        """The faults of this answer; counts it."""
        if self.faults.times == 0:
            return Faults()
        self.faults.times = max(self.faults.times - 1, -1)
        return self.faults


def create_app() -> Starlette:
    """The application; each has faults and a record of requests of its own."""
    state = _State()

    async def decode(request: Request) -> Response | ASGIApp:
        vin = request.path_params["vin"].upper()
        state.asked.append(vin)
        faults = state.take()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.status:
            return _refusal(faults.status)
        body = answer(vin, request.query_params.get("modelyear", ""))
        _spoil(body, faults)
        if request.query_params.get("format", "xml").lower() != "json":
            return Response(_xml(body), media_type="application/xml; charset=utf-8")
        encoded = msgspec.json.encode(body)
        if faults.cut:
            return _Cut(encoded)
        return Response(encoded, media_type="application/json; charset=utf-8")

    async def set_faults(request: Request) -> Response:
        try:
            state.faults = msgspec.json.decode(await request.body(), type=Faults)
        except msgspec.MsgspecError as error:
            return PlainTextResponse(str(error), status_code=400)
        return Response(status_code=204)

    async def requests(_: Request) -> Response:
        return Response(msgspec.json.encode(state.asked), media_type="application/json")

    return Starlette(
        routes=[
            Route("/_faults", set_faults, methods=["POST"]),
            Route("/_requests", requests),
            *(
                Route(f"{base}/{name}/{{vin:path}}", decode)
                for base in ("", "/api/vehicles")
                for name in _CALLS
            ),
        ]
    )


_CALLS = ("DecodeVinValues", "decodevinvalues", "DecodeVinValuesExtended", "decodevinvaluesextended")


def answer(vin: str, model_year: str = "") -> dict[str, Any]:
    """The JSON body for a VIN in upper case; `*` is an unknown character, and the tail may be missing."""
    codes, extra = _errors(vin)
    result = dict.fromkeys(_KEYS, "")
    make = _WMI.get(vin[:3])
    year = model_year or _year(vin)
    if make and 400 not in codes:
        result |= {"Make": make, "MakeID": str(440 + sorted(_WMI.values()).index(make)), "ModelYear": year}
        result["Manufacturer"] = f"{make} MOTOR COMPANY"
        kind = _KINDS.get(vin[:8])
        if kind:
            result |= dict(zip(("Model", "Trim", "BodyClass", "VehicleType"), kind, strict=True))
            result |= {
                "FuelTypePrimary": "Gasoline",
                "DisplacementL": "1.998832712",
                "BedType": "Not Applicable",
            }
        else:
            codes = [*[c for c in codes if c], 8]
    codes.sort()
    result |= {
        "VIN": vin,
        "VehicleDescriptor": f"{vin[:8]}*{vin[9:11]}" if len(vin) >= 11 else vin,
        "ErrorCode": ",".join(map(str, codes)),
        "ErrorText": "; ".join(f"{code} - {_TEXTS[code]}" for code in codes),
        "AdditionalErrorText": extra,
    }
    return {"Count": 1, "Message": _MESSAGE, "SearchCriteria": f"VIN(s): {vin}", "Results": [result]}


def _errors(vin: str) -> tuple[list[int], str]:
    codes, extra = [], ""
    wrong = [f"{at}:{c}" for at, c in enumerate(vin, 1) if not re.fullmatch(r"[A-HJ-NPR-Z0-9*]", c)]
    if wrong:
        codes.append(400)
        extra = f"Invalid character(s): {', '.join(wrong)}"
    if len(vin) < 17 or "*" in vin:
        codes.append(6)
    if "*" in vin[3:8]:
        codes.append(14)
    if vin[:3] not in _WMI:
        codes.append(7)
    if len(vin) >= 10 and vin[9] != "*" and vin[9] not in _YEAR_CODES:
        codes.append(11)
    if len(vin) >= 17 and "*" not in vin and not wrong and not _checks(vin):
        codes.append(1)
    return codes or [0], extra


def _checks(vin: str) -> bool:
    return len(vin) == 17 and _check_digit(vin) == vin[8]


def _check_digit(vin: str) -> str:
    total = sum(
        weight * next(value for value, row in enumerate(_ROWS) if c in row)
        for c, weight in zip(vin[:17], _WEIGHTS, strict=True)
    )
    return "0123456789X"[total % 11]


def _year(vin: str) -> str:
    if len(vin) < 10 or vin[9] not in _YEAR_CODES:
        return ""
    return str((1980 if vin[6].isdigit() else 2010) + _YEAR_CODES.index(vin[9]))


def _spoil(body: dict[str, Any], faults: Faults) -> None:
    if faults.empty:
        body |= {"Count": 0, "Results": []}
        return
    result = body["Results"][0]
    for key in faults.missing:
        result.pop(key, None)
    if faults.nulls:
        result |= {key: None for key, value in result.items() if value == ""}


def _refusal(status: int) -> Response:
    if status == 403:
        return HTMLResponse("<html><body><h1>Access Denied</h1></body></html>", status_code=403)
    return PlainTextResponse(f"refused with {status}", status_code=status)


def _xml(body: dict[str, Any]) -> str:
    fields = "".join(
        f"<{key}>{escape(str(value or ''))}</{key}>"
        for result in body["Results"]
        for key, value in result.items()
    )
    return (
        f"<Response><Count>{body['Count']}</Count><Message>{escape(body['Message'])}</Message>"
        f"<SearchCriteria>{escape(body['SearchCriteria'])}</SearchCriteria>"
        f"<Results><DecodedVINValues>{fields}</DecodedVINValues></Results></Response>"
    )


class _Cut:
    """Sends half of a body that was announced whole; the server then closes the connection."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(self._body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(
            {"type": "http.response.body", "body": self._body[: len(self._body) // 2], "more_body": True}
        )


async def serve(port: int) -> None:
    """Serves on loopback until stopped; port 0 takes a free one."""
    listener = socket.create_server(("127.0.0.1", port))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(create_app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="NHTSA's vPIC on loopback")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))
