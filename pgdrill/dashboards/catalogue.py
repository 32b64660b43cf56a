"""The three dashboards. They read normalised series alone, so one text serves every platform."""

from pgdrill.dashboards.panels import Dashboard, Query, Row
from pgdrill.dashboards.shared import (
    ALERTS,
    BUSY,
    FIRING,
    FULLEST,
    LAG,
    LATE,
    LOAD_LATENCY,
    LOAD_OUTCOMES,
    MEMBERS_UP,
    OPERATOR,
    PRIMARY,
    REPLICATION_LAG,
    SYNCHRONOUS,
    TRANSACTIONS,
    UNARCHIVED,
    VOLUMES,
    lines,
    metric,
    rising,
    stat,
    states,
)

OVERVIEW = Dashboard(
    uid="pgdrill-overview",
    title="pgdrill: database overview",
    about="Is the database well, is it redundant, how hard does it work?",
    rows=(
        Row(
            "At a glance",
            (
                PRIMARY,
                MEMBERS_UP,
                SYNCHRONOUS,
                stat(
                    "Worst lag",
                    f"max({LAG})",
                    "The standby that is furthest behind; pages at 5 s.",
                    unit="s",
                    steps=LATE,
                ),
                FULLEST,
                stat(
                    "Operator",
                    "pgdrill:operator_up",
                    "Whether what fails the cluster over works: without it the next fault stays.",
                    base="bad",
                    words=OPERATOR,
                ),
                ALERTS,
                stat(
                    "Newest backup",
                    "pgdrill:backup_age_seconds",
                    "Age of the newest good backup: what a lost cluster would lose.",
                    unit="s",
                    base="plain",
                    only="backup",
                ),
            ),
        ),
        Row("What clients see", (LOAD_OUTCOMES, LOAD_LATENCY)),
        Row(
            "Work",
            (
                TRANSACTIONS,
                metric("Client sessions", "connections", "Sessions of clients, idle ones too."),
            ),
        ),
        Row("Safety", (REPLICATION_LAG, VOLUMES, UNARCHIVED)),
    ),
)

FAILOVER = Dashboard(
    uid="pgdrill-failover",
    title="pgdrill: failover drill",
    about="Who was primary when, who noticed, what clients felt, when all was well again.",
    rows=(
        Row(
            "At a glance",
            (
                stat(
                    "Primaries",
                    "sum(pgdrill:is_primary)",
                    "One is right. None: writes fail. Two: act at once.",
                    base="bad",
                    steps=rising((1, "good"), (2, "bad")),
                ),
                stat(
                    "Timeline",
                    "max(pgdrill:timeline)",
                    "PostgreSQL counts it up with each promotion.",
                    base="plain",
                ),
                stat(
                    "Promotions, 1 h",
                    "max_over_time(pgdrill:cluster_timeline[1h])"
                    " - min_over_time(pgdrill:cluster_timeline[1h])",
                    "How far the timeline moved on in the last hour.",
                    steps=rising((1, "warn")),
                ),
                MEMBERS_UP,
                SYNCHRONOUS,
                ALERTS,
            ),
        ),
        Row(
            "Who is who",
            (
                states(
                    "Roles",
                    Query(expr="pgdrill:is_primary", legend="{{member}}"),
                    "Who accepts writes. Nothing drawn: the member is silent.",
                    (0, "standby", "plain"),
                    (1, "primary", "good"),
                ),
                states(
                    "Members",
                    Query(expr="pgdrill:member_up", legend="{{member}}"),
                    "Whether PostgreSQL of the member runs.",
                    (0, "down", "bad"),
                    (1, "up", "good"),
                ),
            ),
        ),
        Row(
            "Who noticed",
            (
                states(
                    "Alerts",
                    Query(
                        expr=f"max by (alertname, member) ({FIRING})",
                        legend="{{alertname}} {{member}}",
                    ),
                    "Each alert while it fires; its runbook is docs/runbooks/<alert>.md.",
                    (1, "fires", "bad"),
                    only="alert",
                ),
                states(
                    "Operator",
                    Query(expr="pgdrill:operator_up", legend="operator"),
                    "Whether what fails the cluster over works.",
                    (0, "down", "bad"),
                    (1, "works", "good"),
                ),
            ),
        ),
        Row("What clients felt", (LOAD_OUTCOMES, LOAD_LATENCY, TRANSACTIONS)),
        Row(
            "Redundancy",
            (
                REPLICATION_LAG,
                lines(
                    "Synchronous standbys of the primary",
                    "pgdrill:synchronous_standbys",
                    "Given by the primary: its curve ends with it, and the next one's begins.",
                    "standbys",
                ),
                lines("Timeline", "pgdrill:timeline", "A member that lags here was rewound.", ""),
            ),
        ),
    ),
)

NODES = Dashboard(
    uid="pgdrill-nodes",
    title="pgdrill: node resources",
    about="What the machines have left, and which member takes it.",
    rows=(
        Row(
            "At a glance",
            (
                stat(
                    "Busiest node",
                    "max(pgdrill:node_cpu_ratio)",
                    "Share of its CPU in use.",
                    unit="share",
                    steps=BUSY,
                ),
                stat(
                    "Fullest memory",
                    "max(pgdrill:node_memory_used_ratio)",
                    "Share of a node's memory that cannot be had.",
                    unit="share",
                    steps=BUSY,
                ),
                stat(
                    "CPU of all members",
                    "sum(pgdrill:cpu_cores)",
                    "What the database costs.",
                    unit="cores",
                    base="plain",
                ),
                stat(
                    "Memory of all members",
                    "sum(pgdrill:memory_bytes)",
                    "What the database costs; what processes share counts once.",
                    unit="bytes",
                    base="plain",
                ),
                FULLEST,
            ),
        ),
        Row(
            "Nodes",
            (
                lines(
                    "CPU of each node",
                    "pgdrill:node_cpu_ratio",
                    "A CPU that waits for a disk is not in use.",
                    "share",
                    BUSY,
                    by="node",
                ),
                lines(
                    "Memory of each node",
                    "pgdrill:node_memory_used_ratio",
                    "What the kernel could free counts as free.",
                    "share",
                    BUSY,
                    by="node",
                ),
            ),
        ),
        Row(
            "Members",
            (
                metric("CPU", "cpu", "Cores in use."),
                metric("Memory", "memory", "What processes of a member share counts once."),
            ),
        ),
        Row(
            "Disks",
            (
                metric("Read", "disk read", "From the member's own volume."),
                metric("Written", "disk write", "To the member's own volume."),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, FAILOVER, NODES)
