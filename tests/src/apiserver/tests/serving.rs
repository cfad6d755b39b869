//! Faces of the server other than objects: tables, warnings, counts.

use super::*;

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
