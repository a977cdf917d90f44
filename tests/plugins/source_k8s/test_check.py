"""`kubevip check` finds what is wrong with `sources.k8s` before anything is read, and says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubevip._cli import main

HEAD = "apiVersion: kubevip/v1\n"
RAFT = "elections: {raft: {members: [{name: n1, address: 127.0.0.1}]}}\n"


def check(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> tuple[int, str]:
    file = folder / "config.yaml"
    file.write_text(HEAD + text)
    status = main(["check", str(file), "--node", "n1"])
    return status, capsys.readouterr().out.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "source",
    [
        "sources: {k8s: {mode: services}}\n",
        "sources: {k8s: {mode: services, balance: kubevip}}\n",
        "sources: {k8s: {mode: configmap, namespaces: [shop], configMap: a.b}}\n",
        "elections: {k8s: {}}\nsources: {k8s: {mode: services}}\n",  # a Lease for each of them
        f"{RAFT}sources: {{k8s: {{election: raft}}}}\n",
        f"{RAFT}groups: {{apps: {{election: raft}}}}\nsources: {{k8s: {{group: apps}}}}\n",
    ],
)
def test_what_is_right_is_right(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = check(tmp_path, capsys, source)
    assert (status, "refused" in said) == (0, False), said


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{group: nosuch}", "config.yaml:2: sources.k8s.group: group 'nosuch' is left out: no election is configured"),
        ("{election: raft}", 'config.yaml:2: sources.k8s.election: missing required key "members"'),
        ("{election: nosuch}", "config.yaml:2: sources.k8s.election: no plugin provides the election 'nosuch'"),
        ("{lease: foo}", 'config.yaml:2: sources.k8s.lease: expected "NAMESPACE/NAME"'),
        ("{namespaces: [Bad_Name]}", "config.yaml:2: sources.k8s.namespaces: expected names of namespaces"),
        ('{configMap: "x y"}', "config.yaml:2: sources.k8s.configMap: expected the name of a ConfigMap"),
        ('{interface: "a/b"}', "config.yaml:2: sources.k8s.interface: expected the name of a network device"),
        (
            "{announce: [address, nosuch]}",
            "config.yaml:2: sources.k8s.announce[1]: no plugin provides the announcer 'nosuch'",
        ),
        (
            "{balance: kubevip, proxy: nosuch}",
            "config.yaml:2: sources.k8s.proxy: no plugin provides the proxy 'nosuch'",
        ),
        ('{server: "http://192.168.0.70:6443"}', "config.yaml:2: sources.k8s.server: expected a URL such as https://"),
    ],
)
def test_what_would_be_blamed_on_every_service_is_found_in_the_section(
    source: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = check(tmp_path, capsys, f"sources: {{k8s: {source}}}\n")
    assert status == 78
    assert problem in said


def test_two_elections_on_one_lease_are_refused_with_both_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be candidates against each other: where one holds the other never does."""
    lease = "kube-system/plndr-svcs-lock"
    status, said = check(
        tmp_path, capsys, f"elections:\n  k8s: {{lease: {lease}}}\nsources:\n  k8s: {{mode: services}}\n"
    )
    assert status == 78
    had = f"Lease {lease} is that of election 'k8s' at config.yaml:3: elections.k8s, and has one holder"
    assert f"config.yaml:5: sources.k8s.lease: {had}; name another one here, or use 'k8s'" in said

    status, said = check(
        tmp_path, capsys, f"elections:\n  k8s: {{lease: {lease}}}\n  b: {{type: k8s, lease: {lease}}}\n"
    )
    assert (status, f"config.yaml:4: elections.b: {had}" in said) == (78, True)
