from kubevip_k8s import CONFIG_MAPS, LEASES, NODES, SERVICES


def test_a_core_object_is_below_api() -> None:
    assert CONFIG_MAPS.path("shop", "plndr") == "/api/v1/namespaces/shop/configmaps/plndr"


def test_an_object_of_a_group_is_below_apis() -> None:
    expected = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plndr-svcs-lock"
    assert LEASES.path("kube-system", "plndr-svcs-lock") == expected
    assert LEASES.api_version == "coordination.k8s.io/v1"


def test_without_a_namespace_the_collection_is_that_of_all() -> None:
    assert SERVICES.path() == "/api/v1/services"


def test_a_resource_of_the_cluster_has_no_namespace() -> None:
    assert NODES.path("ignored", "n1") == "/api/v1/nodes/n1"


def test_a_part_of_an_object_comes_last() -> None:
    assert SERVICES.path("shop", "web", "status") == "/api/v1/namespaces/shop/services/web/status"


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert SERVICES.path("shop", "../../secrets") == "/api/v1/namespaces/shop/services/..%2F..%2Fsecrets"
