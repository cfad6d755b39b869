//! Creating, changing, applying, deleting.

use super::*;

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    let made = api
        .create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some());
    let taken = status_of(
        api.create(&PostParams::default(), &mk_service("a"))
            .await
            .unwrap_err(),
    );
    assert_eq!((taken.code, taken.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(taken.message, "services \"a\" already exists");
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = status_of(api.get("a").await.unwrap_err());
    assert_eq!((gone.code, gone.reason.as_str()), (404, "NotFound"));
}

#[tokio::test]
async fn a_stale_writer_loses() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    let old = api
        .create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    let mut new = old.clone();
    new.labels_mut().insert("x".into(), "y".into());
    let new = api
        .replace("a", &PostParams::default(), &new)
        .await
        .unwrap();
    assert_ne!(new.resource_version(), old.resource_version());
    let lost = status_of(
        api.replace("a", &PostParams::default(), &old)
            .await
            .unwrap_err(),
    );
    assert_eq!((lost.code, lost.reason.as_str()), (409, "Conflict"));
    let stale =
        json!({"metadata": {"resourceVersion": old.resource_version(), "labels": {"x": "z"}}});
    let lost = api
        .patch("a", &PatchParams::default(), &Patch::Merge(stale))
        .await
        .unwrap_err();
    assert_eq!(status_of(lost).code, 409);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_new_revision() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    let made = api
        .create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    let same = api
        .replace("a", &PostParams::default(), &made)
        .await
        .unwrap();
    assert_eq!(same.resource_version(), made.resource_version());
    let status = json!({"apiVersion": "v1", "kind": "Service", "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let params = PatchParams::apply("lb");
    let first = api
        .patch_status("a", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    let again = api
        .patch_status("a", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(first.resource_version(), again.resource_version());
}

#[tokio::test]
async fn the_status_endpoint_of_a_service_keeps_the_spec_but_writes_metadata() {
    let (server, client) = mk_server().await;
    let api = services(&client);
    api.create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    let patch = json!({
        "metadata": {"annotations": {"pool": "p"}}, "spec": {"type": "ClusterIP"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    let got = api
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(got.annotations()["pool"], "p");
    assert_eq!(
        got.spec.as_ref().unwrap().type_.as_deref(),
        Some("LoadBalancer")
    );
    let main = json!({"status": {"loadBalancer": {"ingress": null}}});
    let got = api
        .patch("a", &PatchParams::default(), &Patch::Merge(&main))
        .await
        .unwrap();
    let ingress = got.status.unwrap().load_balancer.unwrap().ingress.unwrap();
    assert_eq!(
        (ingress[0].ip.as_deref(), ingress[0].ip_mode.as_deref()),
        (Some("192.0.2.1"), Some("VIP"))
    );
    assert_eq!(server.requests().of("patch", "services/status"), 1);
    assert_eq!(server.requests().writes("services"), 2);
}

#[tokio::test]
async fn custom_resources_are_defaulted_pruned_and_judged() {
    let (_server, client) = mk_server().await;
    let api = harbours(&client);
    let made = api
        .create(&PostParams::default(), &mk_harbour("a", &json!({"odd": 1})))
        .await
        .unwrap();
    assert_eq!(made.data["spec"], json!({"ships": 3}));
    assert_eq!(made.metadata.generation, Some(1));
    for (spec, cause) in [
        (json!({"ships": -1}), "spec.ships"),
        (json!({"ships": "x"}), "spec.ships"),
        (json!({"ships": 3, "berths": 2}), "spec"),
    ] {
        let refused = status_of(
            api.create(&PostParams::default(), &mk_harbour("b", &spec))
                .await
                .unwrap_err(),
        );
        let causes = refused.details.unwrap().causes;
        assert_eq!(
            (refused.code, causes[0].field.as_str()),
            (422, cause),
            "{spec}"
        );
    }
    let patch = |p: Value| {
        let api = api.clone();
        async move {
            api.patch("a", &PatchParams::default(), &Patch::Merge(&p))
                .await
        }
    };
    let wider = patch(json!({"spec": {"berths": 9}})).await.unwrap();
    assert_eq!(wider.metadata.generation, Some(2));
    let refused = status_of(patch(json!({"spec": {"berths": null}})).await.unwrap_err());
    assert!(
        refused.message.contains("berths stay"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn the_status_of_a_custom_resource_is_written_apart() {
    let (_server, client) = mk_server().await;
    let api = harbours(&client);
    let mut full = mk_harbour("a", &json!({}));
    full.data["status"] = json!({"full": true});
    let made = api.create(&PostParams::default(), &full).await.unwrap();
    assert_eq!(made.data.get("status"), None);
    let patch =
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"ships": 9}, "status": {"full": true}});
    let got = api
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(
        (&got.data["spec"]["ships"], &got.data["status"]["full"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(got.metadata.generation, Some(1));
    assert!(got.labels().is_empty());
}

#[tokio::test]
async fn applying_conflicts_with_another_owner_unless_forced() {
    let (_server, client) = mk_server().await;
    let api = harbours(&client);
    let params = |who: &str| PatchParams::apply(who);
    let ships = |n: i32| mk_harbour("a", &json!({"ships": n}));
    api.patch("a", &params("one"), &Patch::Apply(ships(1)))
        .await
        .unwrap();
    let refused = status_of(
        api.patch("a", &params("two"), &Patch::Apply(ships(2)))
            .await
            .unwrap_err(),
    );
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(refused.details.unwrap().causes[0].field, ".spec.ships");
    api.patch("a", &params("two").force(), &Patch::Apply(ships(2)))
        .await
        .unwrap();
    let got = api
        .patch(
            "a",
            &params("one"),
            &Patch::Apply(mk_harbour("a", &json!({}))),
        )
        .await
        .unwrap();
    assert_eq!(
        got.data["spec"]["ships"], 2,
        "one owns it no more, so leaving it out keeps it"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_and_a_namespace_waits_for_it() {
    let (_server, client) = mk_server().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let api: Api<Secret> = Api::namespaced(client, "n");
    let mut held = mk_secret("held");
    held.finalizers_mut().push("test.dev/hold".into());
    api.create(&PostParams::default(), &held).await.unwrap();
    api.create(&PostParams::default(), &mk_secret("free"))
        .await
        .unwrap();
    let answer = namespaces
        .delete("n", &DeleteParams::default())
        .await
        .unwrap();
    assert!(answer.is_left(), "still there, and shown");
    assert!(api.get_opt("free").await.unwrap().is_none());
    assert!(
        api.get("held")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let late = status_of(
        api.create(&PostParams::default(), &mk_secret("late"))
            .await
            .unwrap_err(),
    );
    assert_eq!(late.code, 403);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &release)
        .await
        .unwrap();
    assert!(namespaces.get_opt("n").await.unwrap().is_none());
}

#[tokio::test]
async fn a_lease_that_is_gone_is_made_again_by_an_update() {
    let (_server, client) = mk_server().await;
    let api: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(client, "default");
    let lease =
        serde_json::from_value(json!({"metadata": {"name": "l", "resourceVersion": "5"}})).unwrap();
    let made = api
        .replace("l", &PostParams::default(), &lease)
        .await
        .unwrap();
    assert!(made.uid().is_some());
    let secrets: Api<Secret> = Api::namespaced(api.into_client(), "default");
    let refused = status_of(
        secrets
            .replace("s", &PostParams::default(), &mk_secret("s"))
            .await
            .unwrap_err(),
    );
    assert_eq!(refused.code, 404, "not so other kinds");
}

#[tokio::test]
async fn a_status_applied_and_dropped_leaves_an_empty_load_balancer() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    api.create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    let apply = |status: Value| {
        let api = api.clone();
        async move {
            let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "status": status});
            api.patch_status("a", &PatchParams::apply("lb"), &Patch::Apply(&body))
                .await
                .unwrap()
        }
    };
    let given = apply(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})).await;
    assert!(
        given
            .status
            .unwrap()
            .load_balancer
            .unwrap()
            .ingress
            .is_some()
    );
    let dropped = apply(json!({})).await;
    assert_eq!(json!(dropped.status), json!({"loadBalancer": {}}));
}

#[tokio::test]
async fn a_service_that_is_no_load_balancer_any_more_loses_its_addresses() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    api.create(&PostParams::default(), &mk_service("a"))
        .await
        .unwrap();
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    api.patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let plain = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    let got = api
        .patch("a", &PatchParams::default(), &plain)
        .await
        .unwrap();
    assert_eq!(json!(got.status), json!({"loadBalancer": {}}));
}
