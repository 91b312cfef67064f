"""Which of Tux Paint's pictures show what class of ImageNet; judged by eye, without any model.

Taken are cut-out photographs whose class ImageNet has; drawings, and kinds of which ImageNet only
knows relatives, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FOLDER = "usr/share/tuxpaint/stamps"

_BIRDS = {
    "chicken_profile": 8,
    "crowned_crane": 134,
    "drake": 97,
    "duck": 97,
    "gander": 99,
    "hen": 8,
    "ostrich": 9,
    "peacock": 84,
    "pelican": 144,
    "penguin": 145,
    "pink_flamingo": 130,
    "rainbow-lorikeet": 90,
    "rooster": 7,
    "tucan": 96,
    "vulture": 23,
}
_SMALL_ANIMALS = {
    "fish/lionfish": 396,
    "fish/lobster": 123,
    "insects/Brown_slug": 114,
    "insects/Woodlouse": 126,
    "insects/bee": 309,
    "insects/fly": 308,
    "insects/grasshopper": 311,
    "insects/mantis": 315,
    "lizards/iguana": 39,
    "marsupials/koala": 105,
    "marsupials/wombat": 106,
}
_MAMMALS = {
    "apes/chimp": 367,
    "apes/gorilla": 366,
    "aquatic/orca": 148,
    "aquatic/otter": 360,
    "aquatic/sea_lion": 150,
    "badger": 362,
    "bears/bear": 295,
    "bears/european-bear": 294,
    "bears/toys/edward_bear": 850,
    "bovines/bison": 347,
    "bovines/bull": 345,
    "bovines/ram": 348,
    "camel/camel": 354,
    "camel/dromedary": 354,
    "cats/lion": 291,
    "cats/lion-2": 291,
    "cats/tiger": 292,
    "cats/tiger_sumatran": 292,
    "dogs/dingo": 273,
    "dogs/fox": 277,
    "echidna": 102,
    "elephant": 386,
    "equines/horse": 339,
    "equines/zebra": 340,
    "hippopotamus": 344,
    "pig": 341,
    "pig_golden": 341,
    "pig_golden2": 341,
    "rodents/beaver": 337,
    "rodents/marmot": 336,
    "rodents/squirrel": 335,
    "wildboar": 342,
}
_FOOD = {
    "food/fruit/Strawberry2": 949,
    "food/fruit/apple_granny_smith": 948,
    "food/fruit/banana": 954,
    "food/fruit/cherimoya": 956,
    "food/fruit/lemon": 951,
    "food/fruit/orange": 950,
    "food/fruit/pineapple": 953,
    "food/fruit/pomegranate": 957,
    "food/fruit/sliced_orange": 950,
    "food/fruit/strawberry": 949,
    "food/vegetables/broccoli": 937,
    "food/vegetables/mushroom": 947,
    "food/vegetables/pepper": 945,
    "food/vegetables/yellowpepper": 945,
    "plants/mushrooms/cep": 997,
    "plants/mushrooms/cep-1": 997,
    "plants/mushrooms/cep-2": 997,
}
_THINGS = {
    "hobbies/binoculars": 447,
    "hobbies/camera_35mm": 759,
    "hobbies/music/brass/trumpet": 513,
    "hobbies/music/percussion/drum_tomtom_floor": 541,
    "hobbies/music/percussion/drumkit": 541,
    "hobbies/music/string/cello": 486,
    "hobbies/music/string/guitar2": 546,
    "hobbies/music/string/guitar_classical": 402,
    "hobbies/music/string/guitar_electric": 546,
    "hobbies/music/string/guitar_electric_bass": 546,
    "hobbies/music/string/violin": 889,
    "hobbies/music/wind/bassoon": 432,
    "household/dishes/mug": 504,
    "household/dishes/pitcher_small": 725,
    "household/dishes/teapot": 849,
    "household/toilet": 861,
    "household/tools/hammer": 587,
    "household/tools/paintbrush_large": 696,
    "household/tools/spade": 792,
    "household/garbagecan": 412,
    "household/wheelie_bin": 412,
    "medical/bandage_adhesive": 419,
    "medical/stethoscope": 823,
    "medical/syringe": 845,
    "seasonal/candle": 470,
    "sports/basketball": 430,
    "sports/soccer": 805,
    "sports/tennis_ball": 852,
    "sports/tennis_racket": 752,
}
_STREET = {
    "town/roadsigns/dead_end_sign": 919,
    "town/roadsigns/no_entry_sign": 919,
    "town/roadsigns/no_uturn": 919,
    "town/roadsigns/school_sign": 919,
    "town/roadsigns/stop": 919,
    "town/roadsigns/stoplight_01_red": 920,
    "town/roadsigns/stoplight_02_yellow": 920,
    "town/roadsigns/stoplight_03_green": 920,
    "town/uk_post_box": 637,
    "town/usps_mailbox": 637,
    "vehicles/7spoke256": 479,
    "vehicles/auto/sportscar2": 511,
    "vehicles/auto/truck": 717,
    "vehicles/cycle/pink_tricycle": 870,
    "vehicles/emergency/firetruck": 555,
    "vehicles/flight/balloon360": 417,
    "vehicles/flight/planes/747": 404,
    "vehicles/garbagetruck": 569,
    "vehicles/race/indycar": 751,
}


def _listed(folder: str, names: Mapping[str, int]) -> dict[str, int]:
    return {f"{folder}{name}.png": index for name, index in names.items()}


CLASSES: Mapping[str, int] = MappingProxyType(
    {
        **_listed("animals/birds/", _BIRDS),
        **_listed("animals/", _SMALL_ANIMALS),
        **_listed("animals/mammals/", _MAMMALS),
        **_listed("", _FOOD),
        **_listed("", _THINGS),
        **_listed("", _STREET),
    }
)
"""Path below ``FOLDER`` to ImageNet's class, 0 to 999."""
