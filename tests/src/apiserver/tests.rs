//! The server as its clients see it: kube-rs over HTTP.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn mk_crd() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "harbours.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Cluster",
            "names": {"plural": "harbours", "singular": "harbour", "kind": "Harbour", "shortNames": ["hb"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Ships", "type": "integer", "jsonPath": ".spec.ships"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "A harbour.", "required": ["spec"], "properties": {
                        "spec": {"type": "object", "properties": {
                            "ships": {"type": "integer", "minimum": 0, "default": 3, "description": "How many."},
                            "berths": {"type": "integer"},
                        }, "x-kubernetes-validations": [
                            {"rule": "!has(self.berths) || self.ships <= self.berths", "message": "more ships than berths"},
                            {"rule": "!has(oldSelf.berths) || has(self.berths)", "message": "berths stay"},
                        ]},
                        "status": {"type": "object", "properties": {"full": {"type": "boolean"}}},
                    },
                }},
            }],
        },
    }))
    .unwrap()
}

fn mk_harbour(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "test.dev/v1", "kind": "Harbour", "metadata": {"name": name}, "spec": spec}))
        .unwrap()
}

fn mk_service(name: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }))
    .unwrap()
}

fn mk_secret(name: &str) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"n": name}}})).unwrap()
}

async fn mk_server() -> (ApiServer, Client) {
    let server = ApiServer::start("127.0.0.1:0".parse().unwrap(), vec![mk_crd()])
        .await
        .unwrap();
    let config = Kubeconfig::from_yaml(&server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    (server, client)
}

fn harbours(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("test.dev", "v1", "Harbour");
    Api::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "harbours"),
    )
}

fn services(client: &Client) -> Api<Service> {
    Api::namespaced(client.clone(), "default")
}

fn status_of(error: kube::Error) -> kube::core::Status {
    match error {
        kube::Error::Api(status) => *status,
        other => panic!("not a Status: {other}"),
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Events of a watch, as (type, name), until `n` have come.
async fn events(
    api: &Api<Secret>,
    params: &WatchParams,
    from: &str,
    n: usize,
) -> Vec<(String, String)> {
    let stream = within(api.watch(params, from)).await.unwrap();
    let name = |event| match event {
        WatchEvent::Added(o) => ("ADDED".to_owned(), Secret::name_any(&o)),
        WatchEvent::Modified(o) => ("MODIFIED".to_owned(), o.name_any()),
        WatchEvent::Deleted(o) => ("DELETED".to_owned(), o.name_any()),
        WatchEvent::Bookmark(b) => (
            "BOOKMARK".to_owned(),
            b.metadata.annotations.keys().cloned().collect(),
        ),
        WatchEvent::Error(e) => ("ERROR".to_owned(), e.reason),
    };
    within(stream.map_ok(name).take(n).try_collect())
        .await
        .unwrap()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

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
async fn a_watch_resumes_where_a_list_ended_and_follows_its_selector() {
    let (_server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    api.create(&PostParams::default(), &mk_secret("a"))
        .await
        .unwrap();
    let from = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    api.create(&PostParams::default(), &mk_secret("b"))
        .await
        .unwrap();
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"n": "z"}}}));
    api.patch("b", &PatchParams::default(), &relabel)
        .await
        .unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let all = events(&api, &WatchParams::default(), &from, 3).await;
    assert_eq!(
        all,
        pairs(&[("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")])
    );
    let only_b = WatchParams::default().labels("n=b");
    assert_eq!(
        events(&api, &only_b, &from, 2).await,
        pairs(&[("ADDED", "b"), ("DELETED", "b")]),
        "left the selector"
    );
    let only_z = WatchParams::default().labels("n=z");
    assert_eq!(
        events(&api, &only_z, &from, 2).await,
        pairs(&[("ADDED", "b"), ("DELETED", "b")]),
        "entered it"
    );
}

#[tokio::test]
async fn a_watch_from_before_compaction_is_gone_and_a_watcher_lists_again() {
    let (server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    api.create(&PostParams::default(), &mk_secret("a"))
        .await
        .unwrap();
    let stream = watcher(api.clone(), watcher::Config::default());
    pin_mut!(stream);
    let mut lists = 0;
    while lists < 2 {
        match within(stream.try_next()).await {
            Ok(Some(watcher::Event::InitDone)) if lists == 0 => {
                lists = 1;
                server.shared.cluster().store.remove(&secret_key("a"));
                server.compact();
                server.sever();
            }
            Ok(Some(watcher::Event::InitDone)) => lists = 2,
            Ok(Some(watcher::Event::InitApply(secret))) if lists == 1 => {
                panic!("still there: {}", secret.name_any())
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => panic!("the watcher ended"),
        }
    }
    let direct = events(&api, &WatchParams::default(), "2", 1).await;
    assert_eq!(direct, pairs(&[("ERROR", "Expired")]));
}

fn secret_key(name: &str) -> store::Key {
    store::Key {
        resource: "secrets".into(),
        namespace: "default".into(),
        name: name.into(),
    }
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_marked_bookmark() {
    let (_server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    api.create(&PostParams::default(), &mk_secret("a"))
        .await
        .unwrap();
    let params = WatchParams::default().initial_events();
    let got = events(&api, &params, "0", 2).await;
    assert_eq!(
        got,
        pairs(&[("ADDED", "a"), ("BOOKMARK", "k8s.io/initial-events-end")])
    );
}

#[tokio::test]
async fn pages_of_one_list_show_one_moment() {
    let (_server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&PostParams::default(), &mk_secret(name))
            .await
            .unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    api.delete("c", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &mk_secret("cc"))
        .await
        .unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api
        .list(&ListParams::default().limit(9).continue_token(&token))
        .await
        .unwrap();
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["c", "d", "e"]);
    assert_eq!(
        rest.metadata.resource_version,
        first.metadata.resource_version
    );
}

#[tokio::test]
async fn metadata_only_reads_carry_no_spec() {
    let (_server, client) = mk_server().await;
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let names: Vec<String> = api
        .list_metadata(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(
        names,
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
    let stream = api
        .watch_metadata(&WatchParams::default(), "0")
        .await
        .unwrap();
    pin_mut!(stream);
    assert!(matches!(
        within(stream.try_next()).await,
        Ok(Some(WatchEvent::Added(_)))
    ));
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
async fn an_outage_ends_watches_and_keeps_the_data() {
    let (mut server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    let made = api
        .create(&PostParams::default(), &mk_secret("a"))
        .await
        .unwrap();
    let stream = api.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(stream);
    assert!(within(stream.try_next()).await.unwrap().is_some());
    within(server.stop()).await;
    assert!(matches!(within(stream.try_next()).await, Err(_) | Ok(None)));
    assert!(
        tokio::net::TcpStream::connect(server.shared.address)
            .await
            .is_err(),
        "nobody listens"
    );
    server.resume().await.unwrap();
    assert_eq!(api.get("a").await.unwrap().uid(), made.uid());
}

#[tokio::test]
async fn counts_tell_what_was_asked() {
    let (server, client) = mk_server().await;
    let api: Api<Secret> = Api::namespaced(client, "default");
    api.list(&ListParams::default()).await.unwrap();
    let earlier = server.requests();
    api.create(&PostParams::default(), &mk_secret("a"))
        .await
        .unwrap();
    let counts = server.requests().since(&earlier);
    assert_eq!(
        (
            counts.of("list", "secrets"),
            counts.of("create", "secrets"),
            counts.writes("secrets")
        ),
        (0, 1, 1)
    );
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused_as_asked() {
    let (_server, client) = mk_server().await;
    let mut body = json!(mk_harbour("a", &json!({"odd": 1})));
    body["metadata"]["name"] = json!("strict");
    let request = |validation: &str| {
        http_request(
            &format!("/apis/test.dev/v1/harbours?fieldValidation={validation}"),
            &body,
        )
    };
    let refused = client.request_text(request("Strict")).await.unwrap_err();
    assert!(
        status_of(refused)
            .message
            .contains("unknown field \"spec.odd\"")
    );
    let answer = client
        .send(request("Warn").map(kube::client::Body::from))
        .await
        .unwrap();
    let warning = answer
        .headers()
        .get("warning")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(warning, "299 - \"unknown field \\\"spec.odd\\\"\"");
}

fn http_request(path: &str, body: &Value) -> ::http::Request<Vec<u8>> {
    let request = ::http::Request::post(path).header("content-type", "application/json");
    request.body(body.to_string().into_bytes()).unwrap()
}

#[tokio::test]
async fn tables_show_the_columns_of_the_kind() {
    let (_server, client) = mk_server().await;
    harbours(&client)
        .create(
            &PostParams::default(),
            &mk_harbour("a", &json!({"ships": 5})),
        )
        .await
        .unwrap();
    let request = ::http::Request::get("/apis/test.dev/v1/harbours")
        .header(
            "accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        )
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][1]["name"], "Ships");
    assert_eq!(table["rows"][0]["cells"], json!(["a", 5]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn events_have_two_faces() {
    let (_server, client) = mk_server().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "portolan", "reportingInstance": "i",
        "action": "Assign", "reason": "Assigned", "note": "told", "type": "Normal",
        "regarding": {"kind": "Service", "name": "a", "namespace": "default"},
    });
    let made: Value = client
        .request(http_request(
            "/apis/events.k8s.io/v1/namespaces/default/events",
            &event,
        ))
        .await
        .unwrap();
    assert_eq!(
        (&made["note"], &made["apiVersion"]),
        (&json!("told"), &json!("events.k8s.io/v1"))
    );
    let api: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(client, "default");
    let found = api
        .list(&ListParams::default().fields("involvedObject.name=a"))
        .await
        .unwrap();
    assert_eq!(found.items[0].message.as_deref(), Some("told"));
    assert_eq!(
        found.items[0].reporting_component.as_deref(),
        Some("portolan")
    );
}

#[tokio::test]
async fn twenty_thousand_objects_are_listed_and_watched() {
    let (server, client) = mk_server().await;
    {
        let mut cluster = server.shared.cluster();
        for i in 0..20_000 {
            let key = secret_key(&format!("s{i:05}"));
            let meta = json!({"name": key.name, "namespace": "default"});
            cluster.store.put(
                key,
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta}),
            );
        }
    }
    let request = ::http::Request::get(
        "/api/v1/secrets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    );
    let lines = client
        .request_stream(request.body(Vec::new()).unwrap())
        .await
        .unwrap()
        .lines();
    let mut added = 0;
    pin_mut!(lines);
    while let Some(line) = within(lines.next()).await {
        let line = line.unwrap();
        if line.contains("BOOKMARK") {
            break;
        }
        added += 1;
    }
    assert_eq!(added, 20_000);
    let api: Api<Secret> = Api::all(client);
    assert_eq!(
        within(api.list(&ListParams::default()))
            .await
            .unwrap()
            .items
            .len(),
        20_000
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it by name"]
async fn five_thousand_services_created_and_given_an_address() {
    let (_server, client) = mk_server().await;
    let api = services(&client);
    let start = std::time::Instant::now();
    let names = futures::stream::iter((0..5000).map(|i| format!("s{i}")));
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let create = |name: String| {
        let (api, status) = (api.clone(), status.clone());
        async move {
            let mut service = mk_service(&name);
            service
                .spec
                .as_mut()
                .unwrap()
                .allocate_load_balancer_node_ports = Some(false);
            api.create(&PostParams::default(), &service).await.unwrap();
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await
                .unwrap();
        }
    };
    names
        .map(create)
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
    println!("10000 writes in {:?}", start.elapsed());
}
