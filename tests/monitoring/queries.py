"""The queries of the dashboard and of the rules, ready to be executed over a test's own stretch of time."""

import json
import re
from pathlib import Path

import yaml

MONITORING = Path(__file__).resolve().parents[2] / "monitoring"


def panels() -> dict[str, str]:
    """Every query of the dashboard by its panel's title."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(dict(queries)) == len(queries), "two queries go by one title"
    return dict(queries)


def alerts() -> dict[str, str]:
    """Every alert's expression by its name, with the recorded expressions in place of their names."""
    rules = [rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"] for rule in group["rules"]]
    return {rule["alert"]: _expanded(rule["expr"], recorded()) for rule in rules if "alert" in rule}


def recorded() -> dict[str, str]:
    """Every recorded expression by its name, likewise."""
    rules = [rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"] for rule in group["rules"]]
    named: dict[str, str] = {}
    for rule in rules:
        if "record" in rule:
            named[rule["record"]] = _expanded(rule["expr"], named)
    return named


def over(expression: str, seconds: float) -> str:
    """Rates over so many seconds instead of the dashboard's interval or a rule's minutes; of all models."""
    window = f"[{round(1000 * seconds)}ms]"
    return re.sub(r"\[(\$__rate_interval|\d+[smh])\]", lambda _: window, expression).replace("$model", ".*")


def _expanded(expression: str, named: dict[str, str]) -> str:
    for name, meaning in named.items():
        expression = expression.replace(name, f"({meaning})")
    return expression
