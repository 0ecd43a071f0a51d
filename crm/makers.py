"""Who made a car, from the first three characters of its VIN: the makers whose cars are sold in North America.

Source: Wikibooks, "Vehicle Identification Numbers (VIN codes)/World Manufacturer Identifier (WMI)"; tried on the VINs
of python-libvin's tests (github.com/h3/python-libvin), which come from dealers' and NHTSA's pages. NHTSA's own
register has many more, of trailers, trucks and motorcycles too: who is not here is unknown to us, not wrong.
"""

from itertools import chain

_MAKES = {
    "Acura": "19U 19V 2HH 2HN 5FR 5J8 JH4",
    "Alfa Romeo": "ZAR ZAS",
    "Aston Martin": "SCF SD7",
    "Audi": "TRU WA1 WAU WU1 WUA",
    "Bentley": "SCB SJA",
    "BMW": "3MW 4US 5UM 5UX 5YM WB5 WBA WBS WBX WBY",
    "Buick": "1G4 2G4 3G4 3G5 4GL 5GA KL4 LRB W04",
    "Cadillac": "1G6 1GY 2G6 3GY LRE W06",
    "Chevrolet": "1G1 1GA 1GB 1GC 1GN 1Y1 2C1 2CN 2G1 2GA 2GB 2GC 2GN 3G1 3GB 3GC 3GN 6G3 KL1 KL7 KL8",
    "Chrysler": "1A4 1A8 1C8 2A4 2A8 2C8 3A4 3A8 3C8",
    "Dodge": (
        "1B3 1B4 1B7 1D3 1D4 1D7 1D8 2B3 2B4 2B5 2B6 2B7 2B8 2D3 2D4 2D7 2D8 3B3 3B4 3B7 3D3 3D4 3D6 3D7 4B3 JB3 JB7"
    ),
    "Ferrari": "ZFF ZSG",
    "Fiat": "ZFA ZFB",
    "Fisker": "VCF",
    "Ford": (
        "1FA 1FB 1FC 1FD 1FM 1FT 1ZV 2FA 2FB 2FD 2FM 2FT 3FA 3FB 3FC 3FD 3FE 3FM 3FT MAJ NM0 WF0"
    ),
    "Genesis": "KMT KMU",
    "GMC": "1GD 1GJ 1GK 1GT 2GD 2GK 2GT 3GD 3GK 3GT",
    "Honda": "19X 1HG 2HG 2HJ 2HK 3CZ 3HG 5FN 5FP 5J6 5KB 7FA 93H JHL JHM SHH SHS",
    "Hummer": "137 5GN 5GR 5GT",
    "Hyundai": "2HM 3KM 5NM 5NP 5NT KM8 KMF KMH",
    "Infiniti": "3PC 5N3 JNK JNR JNX",
    "Isuzu": "4S1 4S2 4S6 JAA JAB JAC JAL",
    "Jaguar": "SAD SAJ",
    "Jeep": "1J4 1J7 1J8 ZAC",
    "Kia": "3KP 5XX 5XY KNA KNB KNC KND KNE KNJ",
    "Lamborghini": "ZHW ZPB",
    "Land Rover": "SAL",
    "Lexus": "2T2 58A JT6 JT8 JTH JTJ",
    "Lincoln": "1L1 1LN 2LM 2LN 3LN 5L1 5LM 5LT",
    "Lotus": "SCC",
    "Lucid": "50E",
    "Maserati": "ZAM ZN6",
    "Mazda": "1YV 3MV 3MZ 4F2 4F4 7MM JM1 JM2 JM3",
    "McLaren": "SBM",
    "Mercedes-Benz": (
        "4JG 55S W1K W1N W1V W1W W1X W1Y WD0 WD1 WD2 WD3 WD4 WD5 WD8 WDA WDB WDC WDD WDF WDP WDR WDW WDX WDY WDZ"
    ),
    "Mercury": "1ME 2ME 2MH 2MR 3ME 4M2",
    "Mini": "WMW WMZ",
    "Mitsubishi": "4A3 4A4 JA3 JA4 JA7 ML3",
    "Nissan": "1N4 1N6 3N1 3N6 3N8 JN6 KNM",
    "Oldsmobile": "1G3 1GH 2G3",
    "Plymouth": "1P3 1P4 1P7 2P3 2P4 3P3 4P3 JP3",
    "Polestar": "LPS YSM YSR",
    "Pontiac": "1G2 1GM 2G2 2G7 3G2 3G7 5Y2 6G2 KL2",
    "Porsche": "WP0 WP1",
    "Ram": "3C7",
    "Rivian": "7FC 7PD",
    "Rolls-Royce": "SCA SLA",
    "Saab": "5S3 YS3",
    "Saturn": "1G8 3GS 5GZ W08",
    "Scion": "JTK JTL",
    "Smart": "WME",
    "Subaru": "4S3 4S4 JF1 JF2",
    "Suzuki": "2S2 2S3 5Z6 JS2 JS3 JS4 KL5",
    "Tesla": "5YJ 7G2 7SA LRW XP7",
    "Toyota": (
        "1NX 2T1 2T3 3MY 3TM 3TY 4T1 4T3 4T4 4TA 5TB 5TD 5TE 5TF 5YF 7MU 7SV JT2 "
        "JT3 JT4 JT5 JTD JTE JTF JTG JTM JTN VNK"
    ),
    "Volkswagen": "1V1 1V2 1VW 2V4 2V8 3VV 3VW 9BW WV1 WV2 WV3 WVG WVW",
    "Volvo": "7JD 7JR LVY LYV YV1 YV4",
}  # fmt: skip

# One company, several makes: the first three characters don't tell which.
_SHARED = {
    "1C3": ("Chrysler", "Dodge"),
    "1C4": ("Jeep", "Dodge", "Chrysler"),
    "1C6": ("Ram", "Jeep"),
    "2C3": ("Chrysler", "Dodge"),
    "2C4": ("Chrysler", "Dodge"),
    "3C3": ("Fiat", "Chrysler", "Dodge"),
    "3C4": ("Dodge", "Chrysler", "Jeep"),
    "3C6": ("Ram", "Dodge"),
    "5N1": ("Nissan", "Infiniti"),
    "JN1": ("Nissan", "Infiniti"),
    "JN8": ("Nissan", "Infiniti"),
}


def _read() -> dict[str, tuple[str, ...]]:
    alone = ((wmi, (make,)) for make, wmis in _MAKES.items() for wmi in wmis.split())
    return dict(chain(alone, _SHARED.items()))


_BY_WMI = _read()


def makes(vin: str) -> tuple[str, ...]:
    """The makes that a VIN beginning so may be of, the likeliest first; none when its maker is not known here."""
    return _BY_WMI.get(vin[:3], ())


def wmis() -> frozenset[str]:
    """All beginnings that are known here."""
    return frozenset(_BY_WMI)
