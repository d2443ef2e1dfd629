"""The same rights for EMQX: its access file, made from the same table of rules."""

from __future__ import annotations

from broker_config.access import RULES, SERVICE_USERS, Access, Role, topic_pattern

_ACTIONS = {Access.READ: "subscribe", Access.WRITE: "publish"}
_PARTITIONS = "+"


def emqx_acl(tenant: str) -> str:
    """The rules as EMQX's `acl.conf`: the first rule that fits decides, and the last one denies.

    Unlike Mosquitto's file it refuses a forbidden SUBSCRIBE outright. Source: EMQX 5, authorization by a file.
    """
    lines = [
        "%% Who may read and write what, for EMQX 5. Made by `esp-broker emqx` from the topic families.",
        "%% Nobody joins a shared subscription: a member that may not read would take its turn away from others.",
        '{deny, all, subscribe, ["$share/#", "$queue/#", "$exclusive/#", "$SYS/#"]}.',
    ]
    for rule in RULES:
        user = SERVICE_USERS.get(rule.role)
        device = "${username}" if rule.role is Role.DEVICE else "+"
        pattern = topic_pattern(rule, tenant, _PARTITIONS, device)
        who = "all" if user is None else f'{{user, "{user}"}}'
        lines.append(f'{{allow, {who}, {_ACTIONS[rule.access]}, ["{pattern}"]}}. %% {rule.why}')
    return "\n".join([*lines, "{deny, all}.", ""])
