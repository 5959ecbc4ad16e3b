"""The registers of SunSpec's models (facts of the SunSpec Information Models, of the common, inverter, meter,
storage and DER models).

A point is written `name:type[:unit][*power]`, in the order of its registers: `u` uint16, `i` int16, `s` the
power of ten (sunssf) of points that name it, `e` an enumeration, `b` and `B` 16 and 32 bits, `U` and `A`
uint32 and a 32-bit counter, `Q` 64 bits, `f` float32, `Sn` a text of n registers, `pn` n registers that say
nothing here.
"""

from functools import cache
from typing import NamedTuple

_SIZES = {"u": 1, "i": 1, "s": 1, "e": 1, "b": 1, "B": 2, "U": 2, "A": 2, "Q": 4, "f": 2}


class Item(NamedTuple):
    """A point of a model; `at` registers behind its id and length."""

    name: str
    kind: str
    at: int
    size: int
    unit: str | None
    power: str | None
    """The name of the point that holds its power of ten."""


class Model(NamedTuple):
    group: str
    """What its points are of: `inverter`."""
    items: tuple[Item, ...]
    size: int
    """Registers of what does not repeat."""
    repeated: tuple[Item, ...] = ()
    each: int = 0
    """Registers of what repeats; `at` counts from the beginning of each."""


STATES = {
    "1": "off",
    "2": "sleeping",
    "3": "starting",
    "4": "mppt",
    "5": "throttled",
    "6": "shutting down",
    "7": "fault",
    "8": "standby",
}
"""Of the operating state (`St`) of inverter models."""
STORAGE_STATES = {
    "1": "off",
    "2": "empty",
    "3": "discharging",
    "4": "charging",
    "5": "full",
    "6": "holding",
    "7": "testing",
}

_INVERTER = (
    "A:u:A*A_SF AphA:u:A*A_SF AphB:u:A*A_SF AphC:u:A*A_SF A_SF:s "
    "PPVphAB:u:V*V_SF PPVphBC:u:V*V_SF PPVphCA:u:V*V_SF PhVphA:u:V*V_SF PhVphB:u:V*V_SF "
    "PhVphC:u:V*V_SF V_SF:s "
    "W:i:W*W_SF W_SF:s Hz:u:Hz*Hz_SF Hz_SF:s VA:i:VA*VA_SF VA_SF:s VAr:i:var*VAr_SF VAr_SF:s "
    "PF:i:%*PF_SF PF_SF:s WH:A:Wh*WH_SF WH_SF:s DCA:u:A*DCA_SF DCA_SF:s DCV:u:V*DCV_SF DCV_SF:s "
    "DCW:i:W*DCW_SF DCW_SF:s TmpCab:i:°C*Tmp_SF TmpSnk:i:°C*Tmp_SF TmpTrns:i:°C*Tmp_SF TmpOt:i:°C*Tmp_SF "
    "Tmp_SF:s St:e StVnd:e Evt1:B Evt2:B p8"
)
_INVERTER_FLOAT = (
    "A:f:A AphA:f:A AphB:f:A AphC:f:A PPVphAB:f:V PPVphBC:f:V PPVphCA:f:V PhVphA:f:V PhVphB:f:V PhVphC:f:V "
    "W:f:W Hz:f:Hz VA:f:VA VAr:f:var PF:f:% WH:f:Wh DCA:f:A DCV:f:V DCW:f:W TmpCab:f:°C TmpSnk:f:°C "
    "TmpTrns:f:°C TmpOt:f:°C St:e StVnd:e Evt1:B Evt2:B p8"
)


def _phases(name: str, kind: str, unit: str, power: str = "", names: str = "phA phB phC") -> str:
    """A total and its three phases."""
    of_power = f"*{power}" if power else ""
    return " ".join(f"{name}{phase}:{kind}:{unit}{of_power}" for phase in ("", *names.split()))


_METER = " ".join(
    (
        _phases("A", "i", "A", "A_SF"),
        "A_SF:s",
        _phases("PhV", "i", "V", "V_SF"),
        _phases("PPV", "i", "V", "V_SF", "phAB phBC phCA"),
        "V_SF:s Hz:i:Hz*Hz_SF Hz_SF:s",
        _phases("W", "i", "W", "W_SF"),
        "W_SF:s",
        _phases("VA", "i", "VA", "VA_SF"),
        "VA_SF:s",
        _phases("VAR", "i", "var", "VAR_SF"),
        "VAR_SF:s",
        _phases("PF", "i", "%", "PF_SF"),
        "PF_SF:s",
        _phases("TotWhExp", "A", "Wh", "TotWh_SF", "PhA PhB PhC"),
        _phases("TotWhImp", "A", "Wh", "TotWh_SF", "PhA PhB PhC"),
        "TotWh_SF:s",
        _phases("TotVAhExp", "A", "VAh", "TotVAh_SF", "PhA PhB PhC"),
        _phases("TotVAhImp", "A", "VAh", "TotVAh_SF", "PhA PhB PhC"),
        "TotVAh_SF:s",
        *(
            _phases(f"TotVArh{way}", "A", "varh", "TotVArh_SF", "PhA PhB PhC")
            for way in ("ImpQ1", "ImpQ2", "ExpQ3", "ExpQ4")
        ),
        "TotVArh_SF:s Evt:B",
    )
)
_METER_FLOAT = " ".join(
    (
        _phases("A", "f", "A"),
        _phases("PhV", "f", "V"),
        _phases("PPV", "f", "V", "", "phAB phBC phCA"),
        "Hz:f:Hz",
        _phases("W", "f", "W"),
        _phases("VA", "f", "VA"),
        _phases("VAR", "f", "var"),
        _phases("PF", "f", "%"),
        *(
            _phases(f"Tot{what}", "f", unit, "", "PhA PhB PhC")
            for what, unit in (("WhExp", "Wh"), ("WhImp", "Wh"), ("VAhExp", "VAh"), ("VAhImp", "VAh"))
        ),
        *(
            _phases(f"TotVArh{way}", "f", "varh", "", "PhA PhB PhC")
            for way in ("ImpQ1", "ImpQ2", "ExpQ3", "ExpQ4")
        ),
        "Evt:B",
    )
)


def _line(phase: str, to: str) -> str:
    """One phase of model 701."""
    return (
        f"W{phase}:i:W*W_SF VA{phase}:i:VA*VA_SF Var{phase}:i:var*Var_SF PF{phase}:i*PF_SF A{phase}:i:A*A_SF "
        f"V{phase}{to}:u:V*V_SF V{phase}:u:V*V_SF TotWhInj{phase}:Q:Wh*TotWh_SF "
        f"TotWhAbs{phase}:Q:Wh*TotWh_SF "
        f"TotVarhInj{phase}:Q:varh*TotVarh_SF TotVarhAbs{phase}:Q:varh*TotVarh_SF"
    )


_DER = " ".join(
    (
        "ACType:e St:e InvSt:e ConnSt:e Alrm:B DERMode:B W:i:W*W_SF VA:i:VA*VA_SF Var:i:var*Var_SF "
        "PF:i*PF_SF",
        "A:i:A*A_SF LLV:u:V*V_SF LNV:u:V*V_SF Hz:U:Hz*Hz_SF TotWhInj:Q:Wh*TotWh_SF TotWhAbs:Q:Wh*TotWh_SF",
        "TotVarhInj:Q:varh*TotVarh_SF TotVarhAbs:Q:varh*TotVarh_SF TmpAmb:i:°C*Tmp_SF TmpCab:i:°C*Tmp_SF",
        "TmpSnk:i:°C*Tmp_SF TmpTrns:i:°C*Tmp_SF TmpSw:i:°C*Tmp_SF TmpOt:i:°C*Tmp_SF",
        _line("L1", "L2"),
        _line("L2", "L3"),
        _line("L3", "L1"),
        "ThrotPct:u:% ThrotSrc:B A_SF:s V_SF:s Hz_SF:s W_SF:s PF_SF:s VA_SF:s Var_SF:s TotWh_SF:s "
        "TotVarh_SF:s",
        "Tmp_SF:s MnAlrmInfo:S32",
    )
)

_NAMEPLATE = (
    "DERTyp:e WRtg:u:W*WRtg_SF WRtg_SF:s VARtg:u:VA*VARtg_SF VARtg_SF:s "
    "VArRtgQ1:i:var*VArRtg_SF p3 VArRtg_SF:s "
    "ARtg:u:A*ARtg_SF ARtg_SF:s p5 WHRtg:u:Wh*WHRtg_SF WHRtg_SF:s AhrRtg:u:Ah*AhrRtg_SF AhrRtg_SF:s "
    "MaxChaRte:u:W*MaxChaRte_SF MaxChaRte_SF:s MaxDisChaRte:u:W*MaxDisChaRte_SF MaxDisChaRte_SF:s p1"
)
_SETTINGS = "WMax:u:W*WMax_SF VRef:u:V*VRef_SF p18 WMax_SF:s VRef_SF:s p8"
_STATUS = (
    "PVConn:b StorConn:b ECPConn:b ActWh:Q:Wh ActVAh:Q:VAh p16 VArAval:i:var*VArAval_SF VArAval_SF:s "
    "WAval:u:W*WAval_SF WAval_SF:s p4 p4 p2 RtSt:b Ris:u:Ω*Ris_SF Ris_SF:s"
)
_CONTROLS = "p2 Conn:e WMaxLimPct:u:%*WMaxLimPct_SF p3 WMaxLim_Ena:e p13 WMaxLimPct_SF:s p2"
_STORAGE = (
    "WChaMax:u:W*WChaMax_SF p2 StorCtl_Mod:b VAChaMax:u:VA*VAChaMax_SF MinRsvPct:u:%*MinRsvPct_SF "
    "ChaState:u:%*ChaState_SF StorAval:u:Ah*StorAval_SF InBatV:u:V*InBatV_SF ChaSt:e "
    "OutWRte:i:%*InOutWRte_SF "
    "InWRte:i:%*InOutWRte_SF p3 ChaGriSet:e WChaMax_SF:s p1 VAChaMax_SF:s MinRsvPct_SF:s ChaState_SF:s "
    "StorAval_SF:s InBatV_SF:s InOutWRte_SF:s"
)
_MPPT = "DCA_SF:s DCV_SF:s DCW_SF:s DCWH_SF:s Evt:B N:u TmsPer:u"
_MPPT_EACH = (
    "ID:u IDStr:S8 DCA:u:A*DCA_SF DCV:u:V*DCV_SF DCW:u:W*DCW_SF DCWH:A:Wh*DCWH_SF p2 Tmp:i:°C DCSt:e DCEvt:B"
)
_CAPACITY = "WHRtg:u:Wh*WH_SF WHAvail:u:Wh*WH_SF SoC:u:%*Pct_SF SoH:u:%*Pct_SF Sta:e WH_SF:s Pct_SF:s"
_DC = (
    "PrtAlrms:B NPrt:u DCA:i:A*DCA_SF DCW:i:W*DCW_SF DCWhInj:Q:Wh*DCWH_SF DCWhAbs:Q:Wh*DCWH_SF "
    "DCA_SF:s DCV_SF:s "
    "DCW_SF:s DCWH_SF:s Tmp_SF:s"
)
_DC_EACH = (
    "PrtTyp:e ID:u IDStr:S8 DCA:i:A*DCA_SF DCV:u:V*DCV_SF DCW:i:W*DCW_SF DCWhInj:Q:Wh*DCWH_SF "
    "DCWhAbs:Q:Wh*DCWH_SF "
    "Tmp:i:°C*Tmp_SF DCSta:e DCAlrm:B"
)

_MODELS: dict[tuple[int, ...], tuple[str, str, str]] = {
    (101, 102, 103): ("inverter", _INVERTER, ""),
    (111, 112, 113): ("inverter", _INVERTER_FLOAT, ""),
    (120,): ("nameplate", _NAMEPLATE, ""),
    (121,): ("settings", _SETTINGS, ""),
    (122,): ("status", _STATUS, ""),
    (123,): ("controls", _CONTROLS, ""),
    (124,): ("storage", _STORAGE, ""),
    (160,): ("mppt", _MPPT, _MPPT_EACH),
    (201, 202, 203, 204): ("meter", _METER, ""),
    (211, 212, 213, 214): ("meter", _METER_FLOAT, ""),
    (701,): ("ac", _DER, ""),
    (713,): ("storage", _CAPACITY, ""),
    (714,): ("dc", _DC, _DC_EACH),
}
COMMON = 1
NAMES = {
    1: "common",
    101: "single phase inverter",
    102: "split phase inverter",
    103: "three phase inverter",
    111: "single phase inverter, floats",
    112: "split phase inverter, floats",
    113: "three phase inverter, floats",
    120: "nameplate",
    121: "basic settings",
    122: "measurements and status",
    123: "immediate controls",
    124: "basic storage",
    160: "MPPT extension",
    201: "single phase meter",
    202: "split phase meter",
    203: "wye meter",
    204: "delta meter",
    211: "single phase meter, floats",
    212: "split phase meter, floats",
    213: "wye meter, floats",
    214: "delta meter, floats",
    307: "base meteorological",
    401: "string combiner",
    501: "solar module",
    701: "DER AC measurement",
    702: "DER capacity",
    703: "enter service",
    704: "DER AC controls",
    713: "DER storage capacity",
    714: "DER DC measurement",
    802: "battery base",
    803: "lithium-ion battery bank",
}


@cache
def model(number: int) -> Model | None:
    """The model of that id, as far as its points are known here."""
    for numbers, (group, fixed, each) in _MODELS.items():
        if number in numbers:
            items, size = _items(fixed)
            repeated, step = _items(each)
            return Model(group, items, size, repeated, step)
    return None


def _items(text: str) -> tuple[tuple[Item, ...], int]:
    items: list[Item] = []
    at = 0
    for word in text.split():
        if ":" not in word:
            at += int(word[1:])
            continue
        plain, _, power = word.partition("*")
        name, kind, *unit = plain.split(":")
        size = int(kind[1:]) if kind[0] == "S" else _SIZES[kind]
        items.append(Item(name, kind[0], at, size, unit[0] if unit else None, power or None))
        at += size
    return tuple(items), at
