"""NHTSA on loopback: what it answers, and how it fails."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import httpx2
import pytest

from simulators.nhtsa import create_app


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://nhtsa.test", timeout=30) as client:
        yield client


async def decode(http: httpx2.AsyncClient, vin: str, **params: str) -> dict[str, Any]:
    answer = await http.get(f"/DecodeVinValues/{vin}", params={"format": "json", **params})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    body = answer.json()
    assert set(body) == {"Count", "Message", "SearchCriteria", "Results"}
    return dict(body["Results"][0])


async def test_a_clean_vin_is_a_flat_object_of_strings(http: httpx2.AsyncClient) -> None:
    result = await decode(http, "1HGCM82633A004352")
    assert all(isinstance(value, str) for value in result.values())
    assert len(result) >= 35
    assert result["ErrorCode"] == "0"
    assert result["ErrorText"] == "0 - VIN decoded clean. Check Digit (9th position) is correct"
    assert (result["Make"], result["Model"], result["ModelYear"]) == ("HONDA", "Accord", "2003")
    assert result["VehicleDescriptor"] == "1HGCM826*3A"
    assert result["Series"] == ""


async def test_the_answer_is_xml_unless_json_is_asked_for(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/DecodeVinValues/1HGCM82633A004352")
    assert answer.headers["content-type"].startswith("application/xml")
    assert ElementTree.fromstring(answer.text).findtext("Results/DecodedVINValues/Make") == "HONDA"


@pytest.mark.parametrize(
    ("vin", "codes"),
    [
        ("1HGCM82643A004352", "1"),
        ("1HGCM826", "6"),
        ("1HGCM82633A004352X", "1"),
        ("1HGCM8*633A004352", "6,8,14"),
        ("1HGCM82633AOO4352", "400"),
        ("1HGCM8263UA004352", "1,11"),
        ("99912345678901234", "1,7"),
        ("5NMJFDAE5RH201460", "8"),
        ("1HGCM8263", "6"),
    ],
)
async def test_errors_are_codes_in_an_answer_of_200(http: httpx2.AsyncClient, vin: str, codes: str) -> None:
    result = await decode(http, vin)
    assert result["ErrorCode"] == codes
    assert result["VIN"] == vin
    assert len(result["ErrorText"].split("; ")) == len(codes.split(","))


async def test_invalid_characters_are_named_with_their_place(http: httpx2.AsyncClient) -> None:
    assert (await decode(http, "1HOCM82633A004352"))["AdditionalErrorText"] == "Invalid character(s): 3:O"


async def test_a_partial_vin_decodes_what_it_can(http: httpx2.AsyncClient) -> None:
    result = await decode(http, "1HGCM826%2A3A", modelyear="2003")
    assert (result["Make"], result["Model"], result["ModelYear"]) == ("HONDA", "Accord", "2003")
    assert result["ErrorCode"] == "6"


async def test_paths_take_the_production_prefix_and_the_extended_call(http: httpx2.AsyncClient) -> None:
    for path in ("/api/vehicles/decodevinvalues", "/DecodeVinValuesExtended"):
        answer = await http.get(f"{path}/1HGCM82633A004352", params={"format": "json"})
        assert answer.json()["Results"][0]["Make"] == "HONDA"


async def test_faults_last_as_many_answers_as_asked(http: httpx2.AsyncClient) -> None:
    await http.post("/_faults", json={"status": 403, "times": 1})
    refused = await http.get("/DecodeVinValues/1HGCM82633A004352", params={"format": "json"})
    assert refused.status_code == 403
    assert refused.headers["content-type"].startswith("text/html")
    assert (await decode(http, "1HGCM82633A004352"))["ErrorCode"] == "0"
    assert (await http.get("/_requests")).json() == ["1HGCM82633A004352"] * 2


async def test_answers_can_be_empty_incomplete_or_null(http: httpx2.AsyncClient) -> None:
    await http.post("/_faults", json={"missing": ["Model"], "nulls": True})
    result = await decode(http, "1HGCM82633A004352")
    assert "Model" not in result
    assert result["Series"] is None
    await http.post("/_faults", json={"empty": True})
    answer = await http.get("/DecodeVinValues/1HGCM82633A004352", params={"format": "json"})
    assert answer.json()["Results"] == []


async def test_a_fault_that_does_not_exist_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/_faults", json={"dealy_s": 1})
    assert answer.status_code == 400
    assert "dealy_s" in answer.text


def test_as_a_program_it_tells_its_port_and_answers_there() -> None:
    command = [sys.executable, "-m", "simulators.nhtsa", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            told = re.fullmatch(r"listening on (\d+)\n", program.stdout.readline())
            assert told is not None
            url = f"http://127.0.0.1:{told[1]}/DecodeVinValues/1HGCM82633A004352?format=json"
            assert httpx2.get(url, timeout=30).json()["Results"][0]["Make"] == "HONDA"
        finally:
            program.terminate()
            program.wait(timeout=30)
