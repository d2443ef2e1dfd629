"""Examples for the API's own description; a test sends each of them."""

from __future__ import annotations

from typing import Any, Final

Examples = dict[str, Any]

PROFILES: Final[Examples] = {
    "short": {
        "summary": "A name is enough; all else has a default",
        "value": {"name": "Kiosk ESP", "timeout_minutes": 30, "assigned_groups": ["Kiosk Devices"]},
    },
    "whole": {
        "summary": "Every setting of the page",
        "value": {
            "id": "executive-esp",
            "name": "Executive ESP",
            "description": "For laptops of the board.",
            "timeout_minutes": 90,
            "device_setup": {"show_progress": True, "block_until_complete": True},
            "account_setup": {
                "show_progress": True,
                "block_until_complete": False,
                "allow_skip": True,
            },
            "blocking_apps": ["office", "company-portal", "vpn"],
            "error_handling": {
                "show_details": True,
                "allow_retry": True,
                "allow_reset": False,
                "allow_continue": False,
                "allow_log_collection": True,
            },
            "windows": {"quality_updates": True},
            "custom_message": "Call 555-0100 if this takes longer than an hour.",
            "assigned_groups": ["Executives"],
            "priority": 1,
        },
    },
}

GRAPH_PROFILES: Final[Examples] = {
    "exported": {
        "summary": "As Graph answers it",
        "value": {
            "@odata.type": "#microsoft.graph.windows10EnrollmentCompletionPageConfiguration",
            "id": "7d3e5a52-0b1c-4f6e-9c57-2f4f3a1d9b11",
            "displayName": "Kiosk devices",
            "showInstallationProgress": True,
            "installProgressTimeoutInMinutes": 30,
            "allowDeviceUseOnInstallFailure": False,
        },
    }
}

PATCHES: Final[Examples] = {
    "assign": {
        "summary": "Assign it to groups",
        "value": {"assigned_groups": ["Executives", "Board"]},
    },
    "off": {"summary": "Switch it off", "value": {"active": False}},
    "setting": {"summary": "One setting", "value": {"error_handling": {"allow_reset": True}}},
}

ORDERS: Final[Examples] = {
    "first": {"summary": "Look at this one first", "value": {"profiles": ["executive-esp"]}}
}

REGISTRATIONS: Final[Examples] = {
    "two": {
        "summary": "Two devices to expect",
        "value": {
            "devices": [
                {
                    "device": "DESKTOP-NEW004",
                    "enrollment_type": "windows_autopilot",
                    "user": "ann.lee@company.com",
                    "group": "Kiosk Devices",
                },
                {"device": "iPhone-NEW005"},
            ]
        },
    }
}

COMMANDS: Final[Examples] = {
    "extend": {
        "summary": "Half an hour more",
        "value": {"action": {"kind": "extend_timeout", "context": "device", "minutes": 30}},
    },
    "retry": {
        "summary": "Try one item again",
        "value": {"action": {"kind": "retry_item", "item": "office"}, "issued_by": "ann"},
    },
}

REPORT_REQUESTS: Final[Examples] = {
    "all": {"summary": "Everything of the last 14 days", "value": {}},
    "narrowed": {
        "summary": "What was abandoned on iOS, the most frequent first",
        "value": {
            "select": ["Section", "ActionName", "UserAction", "AbandonedCount"],
            "filter": "(Platform eq 'iOS/iPadOS') and (AbandonedCount gt 0)",
            "orderBy": ["AbandonedCount desc"],
            "top": 10,
        },
    },
}
