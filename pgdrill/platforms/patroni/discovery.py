"""The cluster behind the REST addresses that the user names, refused in one line each."""

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from pgdrill import timeouts
from pgdrill.engines.patroni_access import RestAccess
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.existing.given_address import PORT
from pgdrill.settings import read_file

OLDEST = (3, 1)  # of Patroni: what its answers are read as
WELL = ("running", "streaming")
# A request that Patroni refuses for what it holds, nothing, once it has let its sender in.
NOTHING: dict[str, str] = {}
UNDERSTOOD = 400


class UnreachedError(BrokenEnvironmentError):
    """A REST address from which no answer comes."""


@dataclass(frozen=True)
class FoundMember:
    """One member: its REST address, PostgreSQL's, and what it reports of itself."""

    name: str
    rest: str
    at: Endpoint
    listed: Mapping[str, Any]  # in GET /cluster
    status: Mapping[str, Any]  # GET /patroni; empty where it does not answer
    silence: str  # why it does not

    @property
    def complaint(self) -> str:
        """Why it is not well; '' where it is."""
        if not self.status:
            return f"{self.name} does not answer at {self.rest} ({self.silence})"
        states = {str(self.status.get("state")), str(self.listed.get("state"))}
        wrong = sorted(states - set(WELL))
        if wrong:
            return f"{self.name} is {' and '.join(wrong)}"
        streams = self.status.get("replication_state", "streaming") == "streaming"
        leads = self.listed.get("role") == "leader"
        return "" if leads or streams else f"{self.name} does not stream"


@dataclass(frozen=True)
class FoundCluster:
    """A cluster, as it was looked up."""

    access: RestAccess
    scope: str
    members: tuple[FoundMember, ...]
    view: Mapping[str, Any]  # GET /cluster
    configuration: Mapping[str, Any]  # GET /config
    # Addresses that were given and do not answer: of no member that is listed, for Patroni forgets
    # one that is silent for longer than ttl.
    unlisted: tuple[FoundMember, ...] = ()

    @property
    def leader(self) -> str:
        """The member that leads; '' where none does."""
        leads = ("leader", "standby_leader")
        return next((m.name for m in self.members if m.listed.get("role") in leads), "")

    @property
    def rest(self) -> dict[str, str]:
        """The REST address of each member."""
        return {member.name: member.rest for member in self.members}

    @property
    def patroni(self) -> str:
        """The lowest version of Patroni of all members; '' where none shows it."""
        about = (m.status.get("patroni", {}) for m in self.members)
        versions = [str(one["version"]) for one in about if one.get("version")]
        return min(versions, key=_numbers, default="")

    @property
    def postgres(self) -> str:
        """The version of PostgreSQL, as people write it."""
        number = max((int(m.status.get("server_version", 0)) for m in self.members), default=0)
        return f"{number // 10000}.{number % 10000}" if number else "of unknown version"

    @property
    def systems(self) -> set[str]:
        """The identifiers of the database systems that its members report."""
        found = {str(m.status.get("database_system_identifier", "")) for m in self.members}
        return found - {""}

    @property
    def loop_wait(self) -> int:
        """Seconds between two looks of a member."""
        return int(self.configuration.get("loop_wait", 10))

    @property
    def ttl(self) -> int:
        """Seconds that the lock of a silent primary is valid."""
        return int(self.configuration.get("ttl", 30))

    def demand_well(self) -> None:
        """Refuse a cluster that is not healthy, or that waits for something.

        Raises:
            BrokenEnvironmentError: with what is wrong and what to do.
        """
        name, members = self.scope, self.members
        oldest = ".".join(map(str, OLDEST))
        if _numbers(self.patroni)[:2] < OLDEST:
            raise BrokenEnvironmentError(
                f"{name} is run by Patroni {self.patroni or 'of unknown version'}: pgdrill needs"
                f" {oldest} or newer; upgrade it"
            )
        if self.view.get("pause"):
            raise BrokenEnvironmentError(
                f"{name} is paused, so nothing would fail over: `patronictl resume {name}` first"
            )
        if any(m.listed.get("role") == "standby_leader" for m in members):
            raise BrokenEnvironmentError(
                f"{name} is a standby cluster, which takes no writes: name the addresses of the"
                " first one with --patroni=URL,..."
            )
        everybody = (*members, *self.unlisted)
        wrong = [member.complaint for member in everybody if member.complaint]
        if not self.leader:
            wrong.insert(0, "no member leads")
        timelines = {member.listed.get("timeline") for member in members}
        if len(timelines) > 1 and not wrong:
            wrong.append(f"timelines differ: {', '.join(map(str, sorted(timelines, key=str)))}")
        if wrong:
            raise BrokenEnvironmentError(
                f"{name} is not well: {'; '.join(wrong)}: mend it first; `patronictl list {name}`"
                " shows it"
            )
        if len(members) < 2:
            raise BrokenEnvironmentError(
                f"{name} has one member, {members[0].name}: nothing could take over; add a standby"
            )
        self._demand_nothing_due()

    def _demand_nothing_due(self) -> None:
        """Refuse what would happen in the middle of a drill, or because of it."""
        pending = [m.name for m in self.members if m.listed.get("pending_restart")]
        if pending:
            raise BrokenEnvironmentError(
                f"a restart of {', '.join(pending)} is pending, and a drill would bring settings"
                f" into force: `patronictl restart {self.scope}` first"
            )
        due = [m.name for m in self.members if m.listed.get("scheduled_restart")]
        if due or self.view.get("scheduled_switchover"):
            what = f"a restart of {', '.join(due)}" if due else "a switchover"
            raise BrokenEnvironmentError(
                f"{what} is scheduled: wait until it is over, or `patronictl flush {self.scope}"
                f" {'restart' if due else 'switchover'}`"
            )

    def demand_harmless(self, production: Sequence[tuple[str, str]]) -> None:
        """Refuse a cluster one of whose members has such a tag.

        Raises:
            BrokenEnvironmentError: one has.
        """
        for member in self.members:
            for tag, value in production:
                if str(member.listed.get("tags", {}).get(tag)) == value:
                    raise BrokenEnvironmentError(
                        f"{member.name} is tagged {tag}: {value}: pgdrill touches no production;"
                        " drill a copy of it, or set `production-labels` in pgdrill.toml"
                    )

    def demand_rights(self) -> None:
        """Refuse where a member would not take what a fault asks of it; changes nothing.

        Raises:
            BrokenEnvironmentError: with what the first of them answers.
        """
        for member in self.members:
            url = f"{member.rest}/switchover"
            try:
                answer = self.access.ask("POST", url, timeout=timeouts.PATRONI_TAKES, body=NOTHING)
            except requests.RequestException as error:
                raise BrokenEnvironmentError(_unreached(url, error)) from None
            if answer.status_code == UNDERSTOOD:
                continue
            who = f"user {self.access.user}" if self.access.user else "a request without a user"
            remedy = (
                "give restapi.authentication's user and password in a file, --patroni-auth=FILE"
                if answer.status_code == 401
                else "restapi.allowlist or verify_client of Patroni refuses this machine"
            )
            raise BrokenEnvironmentError(
                f"{member.rest} refuses {who} ({answer.status_code}), and faults change something:"
                f" {remedy}"
            )


def rest_access(auth: str, ca: str) -> RestAccess:
    """Return the way to the REST API; auth and ca are files, '' for none.

    Raises:
        BadUsageError: one cannot be read, or others may read the password.
    """
    user = password = ""
    if auth:
        text = read_file(auth, "patroni-auth").strip()
        user, colon, password = text.partition(":")
        if not (user and colon and password) or "\n" in text:
            raise BadUsageError(f"--patroni-auth={auth}: must hold USER:PASSWORD, in one line")
        if Path(auth).expanduser().stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadUsageError(
                f"--patroni-auth={auth}: others may read the password in it: `chmod 600 {auth}`"
            )
    if ca:
        read_file(ca, "patroni-ca")
        ca = str(Path(ca).expanduser())
    return RestAccess(user, password, ca)


def look_up(access: RestAccess, urls: Sequence[str]) -> FoundCluster:
    """Look the cluster up through the addresses that were given, and those that it lists.

    One address has to answer; a member that does not is looked up all the same, with its silence.

    Raises:
        BrokenEnvironmentError: no address that was given answers, or one not as Patroni does.
        BadUsageError: the addresses are of several clusters.
    """
    own: dict[str, tuple[str, Mapping[str, Any]]] = {}
    scopes: dict[str, str] = {}
    silent: dict[str, BrokenEnvironmentError] = {}
    for url in urls:
        try:
            status = _get(access, f"{url}/patroni")
        except UnreachedError as error:
            silent[url] = error
            continue
        about = status.get("patroni")
        if not isinstance(about, Mapping) or not about.get("scope"):
            raise BrokenEnvironmentError(
                f"{url} is no REST API of Patroni's: name one with --patroni=URL, whose port is"
                " 8008 unless restapi.connect_address is another"
            )
        scopes[str(about["scope"])] = url
        own[str(about.get("name", ""))] = (url, status)
    if len(scopes) > 1:
        listed = ", ".join(f"{scope} ({url})" for scope, url in scopes.items())
        raise BadUsageError(f"--patroni names several clusters: {listed}; name the one to drill")
    if not own:
        raise next(iter(silent.values()))
    first = next(iter(own.values()))[0]
    view = _get(access, f"{first}/cluster")
    members = tuple(_member(access, one, own) for one in view.get("members", []))
    if not members:
        raise BrokenEnvironmentError(f"{first} lists no members: has the cluster started?")
    configuration = _get(access, f"{first}/config")
    listed_at = {member.rest for member in members}
    unlisted = tuple(
        FoundMember(url, url, Endpoint(urlsplit(url).hostname or "", PORT), {}, {}, str(error))
        for url, error in silent.items()
        if url not in listed_at
    )
    return FoundCluster(access, next(iter(scopes)), members, view, configuration, unlisted)


def _member(
    access: RestAccess,
    listed: Mapping[str, Any],
    own: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> FoundMember:
    """Ask one member; at the address that the user gave, which may be another than its own."""
    name = str(listed["name"])
    silence = ""
    if name in own:
        rest, status = own[name]
    else:
        rest, status = re.sub(r"/patroni/?$", "", str(listed.get("api_url", ""))), {}
        try:
            status = _get(access, f"{rest}/patroni")
        except BrokenEnvironmentError as error:
            silence = str(error)
    at = Endpoint(str(listed.get("host", "")), int(listed.get("port", PORT)))
    return FoundMember(name, rest, at, listed, status, silence)


def _get(access: RestAccess, url: str) -> dict[str, Any]:
    try:
        answer = access.ask("GET", url, timeout=timeouts.PATRONI_TAKES)
    except requests.RequestException as error:
        raise UnreachedError(_unreached(url, error)) from None
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BrokenEnvironmentError(
            f"{url} answers {answer.status_code} and nothing that Patroni would: name its REST"
            " addresses with --patroni=URL,..."
        )
    return found


def _unreached(url: str, error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        found = re.search(r"certificate verify failed: [^(']*", _line(error))
        if found:
            why = found.group().strip()
            return f"{url}: {why}; name the file of its authority with --patroni-ca=FILE"
        return f"{url} answers without TLS, or with another version of it: is it http:// instead?"
    if isinstance(error, requests.exceptions.Timeout):
        why = "no answer in time"
    else:
        why = re.sub(r".*\[Errno -?\d+\] ([^')]*).*", r"\1", _line(error))
    return f"{url} cannot be reached: {why}; is it right, and let through from this machine?"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))
