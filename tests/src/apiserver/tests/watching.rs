//! Lists, watches, and what outages do to them.

use super::*;

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
