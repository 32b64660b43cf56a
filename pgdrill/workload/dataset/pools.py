"""Realistic texts from Faker, a few thousand of each: rows draw from them at memory speed."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faker import Faker
from faker.providers.date_time import Provider as DateTime

from pgdrill.workload.dataset.encode import Pool

LOCALES = ("en_US", "de_DE", "fr_FR", "es_ES", "pl_PL")
TEXT_OID = 25  # pg_type.oid of text


@dataclass(frozen=True)
class Pools:
    """One pool for each kind of text."""

    country_codes: Pool
    country_names: Pool
    currencies: Pool
    timezones: Pool
    cities: Pool
    category_names: Pool
    keywords: Pool
    companies: Pool
    people: Pool
    streets: Pool
    handles: Pool
    domains: Pool
    products: Pool
    attributes: Pool
    reviews: Pool


@functools.lru_cache(maxsize=1)  # half a second, and only the seed matters
def make(seed: int) -> Pools:
    """Fill the pools; a seed gives the same texts everywhere (Faker is pinned by the lock file)."""
    # Weighting would draw common names more often, at a fiftieth of the speed.
    fakers = [Faker(locale, use_weighting=False) for locale in LOCALES]
    for number, faker in enumerate(fakers):
        faker.seed_instance(seed + number)
    english = fakers[0]

    def everywhere(value: Callable[[Faker], str], each: int) -> Pool:
        return Pool.of([value(faker) for faker in fakers for _ in range(each)])

    def many(value: Callable[[], str], size: int) -> list[str]:
        return [value() for _ in range(size)]

    countries = DateTime.countries
    return Pools(
        country_codes=Pool.of([country.alpha_2_code for country in countries]),
        country_names=Pool.of([country.name for country in countries]),
        currencies=Pool.of(many(english.currency_code, 100)),
        timezones=Pool.of([country.timezones[0] for country in countries]),
        cities=everywhere(lambda faker: faker.city(), 400),
        category_names=Pool.of([word.title() for word in many(english.word, 500)]),
        keywords=Pool.of([text_array(english.words(1 + i % 4)) for i in range(500)]),
        companies=everywhere(lambda faker: faker.company(), 300),
        people=everywhere(lambda faker: f"{faker.first_name()} {faker.last_name()}", 1000),
        streets=everywhere(lambda faker: faker.street_name(), 400),
        handles=Pool.of(many(english.user_name, 2000)),
        domains=Pool.of(["@example.com", "@example.net", "@example.org"]),
        products=Pool.of(many(english.catch_phrase, 3000)),
        attributes=Pool.of([_attributes(english, i) for i in range(1000)]),
        reviews=Pool.of([english.sentence(4 + i % 12) for i in range(2000)]),
    )


def text_array(words: Sequence[str]) -> bytes:
    """Encode a text[] of one dimension in PostgreSQL's binary form."""
    numbers = (1, 0, TEXT_OID, len(words), 1)  # dimensions, no NULLs, type, size, lower bound
    raw = [word.encode() for word in words]
    return b"".join(
        [number.to_bytes(4, "big") for number in numbers]
        + [len(word).to_bytes(4, "big") + word for word in raw]
    )


def _attributes(faker: Faker, number: int) -> bytes:
    value: dict[str, object] = {"colour": faker.color_name(), "made_in": faker.country_code()}
    if number % 3:
        value["size_mm"] = [faker.random_int(5, 900) for _ in range(3)]
    if number % 5 == 0:
        value["energy"] = {"class": "ABCDEFG"[number % 7], "watts": faker.random_int(1, 2000)}
    return b"\x01" + json.dumps(value).encode()  # jsonb's binary form: version 1, then text
