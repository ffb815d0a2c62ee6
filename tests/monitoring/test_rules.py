"""The rules on made-up series, by Prometheus's own tool: what makes each alert fire, and what does not."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.prometheus_server import MISSING, find
from tests.monitoring.queries import MONITORING, alerts

PROMTOOL = find("promtool")
CASES = Path(__file__).with_name("rules_test.yml")


def test_every_alert_is_made_to_fire() -> None:
    cases = [each for test in yaml.safe_load(CASES.read_text())["tests"] for each in test["alert_rule_test"]]
    assert {each["alertname"] for each in cases if each["exp_alerts"]} == alerts().keys()


@pytest.mark.skipif(not PROMTOOL, reason=MISSING)
@pytest.mark.parametrize("arguments", [["check", "config", str(MONITORING / "prometheus.yml")], ["test", "rules", str(CASES)]])
def test_prometheus_agrees(arguments: list[str]) -> None:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
