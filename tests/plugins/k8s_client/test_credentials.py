"""What is wrong with a kubeconfig is said in one line that names it once and no part of a library."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group

from kubevip_k8s import Access, NoAccess, own_server
from kubevip_k8s._credentials import read_credentials
from kubevip_k8s._session import Sessions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the library's only one


async def refusal(file: Path) -> str:
    with pytest.raises(NoAccess) as refused:
        await read_credentials(Access(kubeconfig=file))
    return str(refused.value).replace(str(file), "FILE")


async def test_a_file_that_is_not_there_is_named_once_and_what_to_do(tmp_path: Path) -> None:
    said = "FILE: there is no such file; it is waited for. Write it, or name another with `kubeconfig`"
    assert await refusal(tmp_path / "kc.conf") == said


async def test_outside_of_a_pod_a_kubeconfig_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NoAccess) as refused:
        await read_credentials(Access())
    assert str(refused.value) == (
        "the Pod's service account: this is no Pod (KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set): "
        "name a file of kubectl's format with `kubeconfig`, or run it in a Pod"
    )


async def test_a_pod_without_a_token_is_told_what_mounts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(NoAccess) as refused:
        await read_credentials(Access())
    assert str(refused.value) == (
        "the Pod's service account: Service token file does not exist. Does the Pod mount it "
        "(automountServiceAccountToken)? Else name a file with `kubeconfig`"
    )


@pytest.mark.parametrize("text", ["[]", "clusters: 5\n", "{users: [1], contexts: [2], current-context: a}"])
async def test_what_is_no_kubeconfig_is_called_so_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kc.conf"
    file.write_text(text)
    said = await refusal(file)
    assert said.startswith("FILE: ")
    assert not any(word in said for word in ("indices", "object has no attribute", "subscriptable", "iterable", "\n"))


async def test_a_file_that_is_no_yaml_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "kc.conf"
    file.write_text("a: [\nb: }")
    said = await refusal(file)
    assert said.startswith("FILE: ")
    assert "\n" not in said


@pytest.mark.parametrize(("kubeconfig", "warned"), [(None, False), ("none.conf", True)])
async def test_only_a_kubeconfig_that_was_named_is_warned_of_when_it_is_not_there(
    kubeconfig: str | None, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """kubeadm's, k3s' and rke2's are looked for, and no node has all of them."""
    *_, last = own_server(tmp_path / kubeconfig if kubeconfig is not None else None)
    sessions = Sessions(last)
    caplog.set_level(logging.DEBUG, "kubevip.k8s")
    async with create_task_group() as tg:
        tg.start_soon(sessions.follow)
        with pytest.raises(NoAccess):
            await sessions.current()
        tg.cancel_scope.cancel()
    (record,) = (it for it in caplog.records if "no access" in it.getMessage())
    assert (record.levelno == logging.WARNING) is warned
