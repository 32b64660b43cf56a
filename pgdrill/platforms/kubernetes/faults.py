"""Faults that need nothing but the API: pods deleted, deployments scaled away."""

from dataclasses import dataclass

from chaosk8s.deployment.actions import scale_deployment
from chaosk8s.deployment.probes import deployment_available_and_healthy
from chaosk8s.pod.actions import terminate_pods
from chaosk8s.pod.probes import count_pods

from pgdrill import timeouts
from pgdrill.engines.base import PodEngine
from pgdrill.faults.base import Fault, FaultNotRealError
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.member_faults import MemberFault
from pgdrill.platforms.switchover import Switchover
from pgdrill.waiting import DeadlineError, eventually

SEEN_WITHIN = 30.0  # seconds until the API server shows what was done to a pod
LEFT_WITHIN = 240.0  # ... until a pod has left by itself: smart shutdown serves sessions for 180
POLITE = -1  # the pod's own grace period
OPERATOR, OPERATOR_NAMESPACE = "cnpg-controller-manager", "cnpg-system"
OPERATOR_PODS = "app.kubernetes.io/name=cloudnative-pg"
# Seconds until one of them is ready again: its image is on the node, its probe runs every 10 s.
BACK_WITHIN = 60.0


class PodFault(MemberFault):
    """Hits the member in one pod."""

    _engine: PodEngine

    @property
    def _uid(self) -> str:
        return self._target.incarnation.partition("/")[0]

    def _now(self) -> str:
        pod = self._engine.pods().get(self._target.name)
        return pod.incarnation if pod else ""


class DeletePod(PodFault):
    """Delete the pod of a member, as chaostoolkit-kubernetes does it, with a grace period."""

    def __init__(self, engine: PodEngine, name: str, role: str, access: Access, grace: int) -> None:
        super().__init__(engine, name, role)
        self._access = access
        self._grace = grace

    def inject(self) -> str:
        """Delete the one pod that is this member by its labels."""
        target = self._choose()
        labels = self._engine.selector(target.name)
        with self._access.for_chaostoolkit():
            deleted = terminate_pods(
                label_selector=labels, ns=self._engine.namespace, qty=1, grace_period=self._grace
            )
        if deleted != [target.name]:
            raise FaultNotRealError(f"{deleted} were deleted instead of {target.name}")
        return target.name

    def verify_injected(self) -> str:
        """The pod of this UID is gone, or on its way out."""
        pod = self._engine.pods().get(self._target.name)
        if pod and pod.uid == self._uid and not pod.deleting:
            raise FaultNotRealError(f"{self._target.name} is still the pod {self._uid}")
        how = "politely" if self._grace == POLITE else f"grace {self._grace}"
        return f"{self._target.name}: pod {self._uid} was deleted, {how}"

    def verify_healed(self) -> str:
        """The pod is gone; after a graceful deletion it may wait for its sessions first."""
        return self._gone_for_good(LEFT_WITHIN if self._grace == POLITE else timeouts.MEMBER_GONE)


@dataclass(frozen=True)
class Deployment:
    """A deployment of one replica, that can be scaled to nothing and back."""

    name: str
    namespace: str
    pods: str  # label selector
    access: Access

    def scale(self, replicas: int) -> None:
        """Set the number of replicas."""
        with self.access.for_chaostoolkit():
            scale_deployment(self.name, replicas, ns=self.namespace)

    def demand_gone(self) -> str:
        """Wait until no pod is left, not even one that is about to end.

        Raises:
            FaultNotRealError: one stays.
        """
        try:
            eventually(f"no pod of {self.name}", self._count, lambda n: n == 0, within=SEEN_WITHIN)
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return f"{self.name} is scaled to 0, no pod of it is left"

    def demand_back(self) -> str:
        """Wait until its pod is available.

        Raises:
            DeadlineError: it is not.
        """
        eventually(f"{self.name} is available", self._available, within=BACK_WITHIN)
        return f"{self.name} is available"

    def _count(self) -> int:
        with self.access.for_chaostoolkit():
            return int(count_pods(self.pods, ns=self.namespace))

    def _available(self) -> bool:
        with self.access.for_chaostoolkit():
            return bool(
                count_pods(self.pods, ns=self.namespace)
                and deployment_available_and_healthy(
                    self.name, ns=self.namespace, raise_on_unavailable=False
                )
            )


class ScaleToZero:
    """Scale a deployment to nothing.

    Without the operator the database runs on, and there is no failover.
    """

    def __init__(self, name: str, deployment: Deployment) -> None:
        self.name = name
        self._deployment = deployment
        self._hit = False

    def inject(self) -> str:
        """Ask for no replica."""
        self._hit = True
        self._deployment.scale(0)
        return self._deployment.name

    def verify_injected(self) -> str:
        """No pod of it is left, not even one that is about to end."""
        return self._deployment.demand_gone()

    def heal(self) -> None:
        """Ask for the one replica that its manifest has."""
        if self._hit:
            self._deployment.scale(1)

    def verify_healed(self) -> str:
        """Its pod is available."""
        return self._deployment.demand_back()


def api_faults(engine: PodEngine, access: Access) -> tuple[Fault, ...]:
    """Return the faults of one cluster that the API alone can do."""
    return (
        DeletePod(engine, "primary_kill", "primary", access, grace=0),
        DeletePod(engine, "primary_grace_1", "primary", access, grace=1),
        DeletePod(engine, "primary_delete", "primary", access, grace=POLITE),
        DeletePod(engine, "standby_kill", "standby", access, grace=0),
        Switchover(engine),
    )
