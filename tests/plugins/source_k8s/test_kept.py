"""What is kept of objects is enough for whoever reads them, and no more."""

from __future__ import annotations

from typing import Any

from tests.plugins.source_k8s.objects import endpoint_slice, service

from kubevip_source_k8s._backing import Backing
from kubevip_source_k8s._kept import Listed, kept_config_map, kept_endpoints, kept_service, kept_slice
from kubevip_source_k8s._services import Rules, wish_of
from kubevip_source_k8s._status import WRITTEN, clearing_patch

CLUTTER: dict[str, Any] = {
    "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    "ownerReferences": [{"uid": "x"}],
}


def cluttered(value: dict[str, Any], **annotations: str) -> dict[str, Any]:
    metadata = {**value["metadata"], **CLUTTER, "resourceVersion": "7"}
    metadata["annotations"] = {**metadata.get("annotations", {}), "deploy/last": "x" * 1000, **annotations}
    return {**value, "metadata": metadata, "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.1"}]}, "x": 1}}


def test_a_service_asks_for_the_same_as_before() -> None:
    annotations = {"loadbalancerIPs": "192.168.0.80,2001:db8::80", "serviceInterface": "eth1", "egress": "true"}
    whole = cluttered(service(annotations=annotations, policy="Local"), **{WRITTEN: "192.168.0.1 k8s"})
    whole["spec"] |= {"sessionAffinity": "ClientIP", "loadBalancerClass": "kube-vip.io/kube-vip-class"}
    kept = kept_service(whole)
    assert wish_of(kept, Rules(balances=True)) == wish_of(whole, Rules(balances=True)) is not None
    assert clearing_patch(kept, "k8s") == clearing_patch(whole, "k8s") is not None


def test_what_nobody_reads_of_a_service_is_not_kept() -> None:
    whole = cluttered(service(annotations={"ignore": "false"}))
    whole["spec"] |= {"clusterIP": "10.0.0.1", "selector": {"app": "web"}}
    assert kept_service(whole) == {
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "uid": "uid-shop-web",
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-22T10:15:02Z",
            "annotations": {"kube-vip.io/ignore": "false"},
        },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerIP": "192.168.0.80",
            "externalTrafficPolicy": "Cluster",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.1"}]}},
    }


def test_a_config_map_keeps_its_entries_alone() -> None:
    metadata = {"namespace": "shop", "name": "plndr", "uid": "u", "resourceVersion": "1"}
    whole = {"metadata": {**metadata, **CLUTTER}, "data": {"plndr-services": "{}", "other": "x"}}
    assert kept_config_map(whole) == {"metadata": metadata, "data": {"plndr-services": "{}"}}


def test_of_nonsense_nothing_is_kept() -> None:
    nonsense: dict[str, Any] = {"metadata": {"name": "x"}, "spec": 1, "status": [], "data": "x", "endpoints": {}}
    assert kept_service(nonsense) == {"metadata": {"name": "x"}, "spec": {"ports": []}}
    assert kept_config_map(nonsense) == {"metadata": {"name": "x"}, "data": {}}
    assert kept_slice(nonsense) == Listed(service=("", ""), endpoints=())
    assert kept_endpoints(nonsense) == Listed(service=("", "x"), endpoints=())


def test_what_many_objects_say_is_there_once() -> None:
    one = kept_slice(endpoint_slice("web", "10.0.0.1", node="".join(("n", "1")))).endpoints[0]
    other = kept_slice(endpoint_slice("tls", "10.0.0.2", node="".join(("n", "1")))).endpoints[0]
    assert one.ports is other.ports
    assert one.node is other.node


def test_a_slice_that_becomes_another_services_is_no_longer_the_first_ones() -> None:
    backing = Backing()
    first, second = kept_slice(endpoint_slice("web", "10.0.0.1")), kept_slice(endpoint_slice("tls", "10.0.0.1"))
    assert backing.put(("shop", "x"), first) == (("shop", "web"),)
    assert set(backing.put(("shop", "x"), second, before=first)) == {("shop", "web"), ("shop", "tls")}
    assert backing.endpoints(("shop", "web")) == ()
    assert backing.endpoints(("shop", "tls")) == second.endpoints
    assert backing.put(("shop", "x"), second, before=second, is_gone=True) == (("shop", "tls"),)
    assert backing.endpoints(("shop", "tls")) == ()
